"""Sounds taken out of a video by the places that they come from."""
