"""Rows that every result is read beside: predictors that ignore the sound, and the ceiling."""
