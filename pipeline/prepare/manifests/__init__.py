"""Lists of videos: folders, list files, CSV and JSONL manifests."""
