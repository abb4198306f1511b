"""Google Cloud Storage through gcsfs, with gavt's own patience."""
