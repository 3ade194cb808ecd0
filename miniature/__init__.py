"""A small world in which everything is real but small: its pictures, its models, and how they were trained."""
