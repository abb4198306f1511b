"""Shards that others wrote with webdataset: tars without an index, of any kind of picture, sound and video."""
