"""Training: the loop, DeepSpeed's engine, checkpoints, logging."""
