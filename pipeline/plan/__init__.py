"""What training will need, worked out from settings alone: memory, FLOPs, hours, data."""
