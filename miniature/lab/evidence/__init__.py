"""What the miniature's models are worth, measured on people and scenes that none of them was trained on."""
