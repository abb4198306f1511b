"""Ways to read a map of where the sound comes from out of a trained model: one file a way."""
