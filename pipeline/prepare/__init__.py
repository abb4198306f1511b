"""Videos to shards: lists of videos, decoding, sample layout, shard writing, ledger."""
