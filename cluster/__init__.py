"""The machines: storage, worker pools, process groups. Knows nothing of video or models."""
