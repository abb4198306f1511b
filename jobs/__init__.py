"""What a person runs or submits."""
