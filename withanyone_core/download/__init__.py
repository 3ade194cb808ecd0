"""Fetches the model files into ComfyUI's folders, only when asked: `python -m withanyone_core.download`."""
