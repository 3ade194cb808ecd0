"""How much a picture's people look like those they should be: numpy, and scipy for the assignment."""
