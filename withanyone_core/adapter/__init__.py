"""The adapter network and its files."""
