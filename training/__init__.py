"""Programs beside the pack: each is a script that runs from a bare clone and prints its help when called bare."""
