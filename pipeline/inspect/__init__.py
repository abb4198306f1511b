"""Looking at a shard set: what is in it, a page of its samples, and whether it is whole."""
