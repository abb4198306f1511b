"""Objectives, one file each: what it needs, its head, its loss, its metrics."""
