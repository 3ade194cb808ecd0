"""What the meter shows, as images."""
