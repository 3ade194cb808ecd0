"""Identities on disk, and one identity merged from two."""
