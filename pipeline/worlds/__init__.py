"""Timbre-Scenes: synthetic videos in which what sounds, and where, is known exactly."""
