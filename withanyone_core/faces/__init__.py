"""From photos to people: images, detection, alignment, crops, ArcFace vectors and what SigLIP needs."""
