"""The sockets: each plugs the same adapter into one implementation of FLUX.1, and it alone imports that."""
