"""Settings of the commands: typed sections, read from YAML, changed by `key=value`."""
