"""Models: embedders, encoder, and one file a system."""
