"""What the meter shows, as pictures."""
