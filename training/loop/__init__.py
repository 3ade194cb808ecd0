"""The training loop: drawing samples, stepping, looking at what was learnt, and keeping it."""
