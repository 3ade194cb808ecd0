"""From photos to people: pictures, detection, alignment, crops, ArcFace vectors and what SigLIP needs."""
