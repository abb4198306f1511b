"""The work: what happens to data and model."""
