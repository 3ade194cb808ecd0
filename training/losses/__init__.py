"""Losses: flow matching, identity and InfoNCE, and what leads from velocity to face embeddings; all in float32."""
