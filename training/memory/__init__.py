"""Memory planning: what a training run will need, predicted before it starts from dummy models and fake tensors."""
