"""How much an image's people look like those they should be: numpy, and scipy for the assignment."""
