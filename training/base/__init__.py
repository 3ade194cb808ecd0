"""The frozen models that training stands on, read from files: FLUX.1, its VAE and text encoders, and SigLIP."""
