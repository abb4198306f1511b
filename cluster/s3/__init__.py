"""S3 that fails for a while: patient requests through s3fs, and quick ones without it for ranged reads."""
