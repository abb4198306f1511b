"""Formats of lists: one file each, with `looks_like`, which recognises it, and `read`, which gives its rows."""
