"""The shard format: one writer, one reader."""
