"""What a sample is decoded into: one file an input."""
