"""What a model file is, recognized by its first bytes and its header."""
