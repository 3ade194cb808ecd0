"""Prepared photos on disk: what prepare.py writes once and training reads at every step."""
