"""What a model file is, told from its first bytes and its header, and the words for it."""
