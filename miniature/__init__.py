"""A small world in which everything is real but small: its images, its models, and how they were trained."""
