"""What a sample is: a file for each layout of `prepare.layout`, with `make_samples(video, row, settings)`."""
