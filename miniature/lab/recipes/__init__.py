"""How each model of the miniature world is trained; `miniature/lab/train.py` runs them."""
