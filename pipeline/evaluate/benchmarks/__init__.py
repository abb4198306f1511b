"""Public benchmarks of sound localisation: their lists, and scores of maps that any model made. Start at `score.py`."""
