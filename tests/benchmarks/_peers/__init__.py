"""Other loaders, and a bare loop, over the same samples; each runs in a process of its own."""
