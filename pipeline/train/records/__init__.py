"""What a run writes down: metrics, wandb, TensorBoard."""
