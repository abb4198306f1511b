"""Embedders, a file each: an image-like input [B, C, H, W] → a grid of features [B, D, h, w]."""
