"""How each model of the miniature world is trained; `miniature/train.py` runs them."""
