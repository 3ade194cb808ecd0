"""Files on disk: what their first bytes say, hashes and stamps, tensors, file names."""
