"""From photos to people: images, detection, alignment, crops, ArcFace embeddings and what SigLIP needs."""
