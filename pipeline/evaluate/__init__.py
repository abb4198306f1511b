"""What a trained model knows: attention maps, localisation with its controls, multi-modal alignment, and the report."""
