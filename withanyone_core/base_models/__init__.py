"""What is peculiar to a base model: sizes, pixels a token, text, sigma shift, and how it is recognized.

One file a family, and a line in `registry.py`. Whoever needs such a fact asks the `BaseModel`; the twin that trains
(text encoders, velocity, latents) is `training/base/`.
"""
