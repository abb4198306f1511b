"""What streaming will cost on a planned number of nodes, without reading data."""
