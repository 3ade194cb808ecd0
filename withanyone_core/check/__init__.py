"""Says of any model file what it is and what it fits with: `python -m withanyone_core.check FILE...`."""
