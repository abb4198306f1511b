"""Timbre-Scenes: a still of instruments, of which some sound."""
