"""Features of frozen networks: made once of every sample of a shard set, and stored."""
