"""What training minimises, and the way from the model's velocity to pixels and face vectors; all of it in float32."""
