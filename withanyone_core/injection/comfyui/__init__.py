"""The socket for ComfyUI's own FLUX.1: the adapter's parts in ModelPatchers, called from ComfyUI's sampler."""
