"""Networks whose features are stored, a file each."""
