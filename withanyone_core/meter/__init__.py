"""The Identity Meter: who is where in a batch of images, who looks like whom, and how much was copied."""
