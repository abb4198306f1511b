"""By how much sound and picture of a video are apart."""
