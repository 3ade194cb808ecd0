"""The training loop: draw samples, step, validate, save checkpoints, resume, and write the result."""
