"""What a run needs before it is started: memory, files, operations."""
