"""How well a map points at what sounds: one file a measure, and `scores.py` that puts them in a row."""
