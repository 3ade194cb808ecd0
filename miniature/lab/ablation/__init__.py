"""What the parts of training bring, each measured by adapters that differ in nothing else."""
