"""How the miniature's models are trained and measured. In a clone only: neither wheel nor registry archive has it."""
