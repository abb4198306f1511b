"""The sample: what one training example in a shard holds, and how its parts are coded."""
