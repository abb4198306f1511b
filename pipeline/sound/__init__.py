"""Reading sound: windows of a video's audio track, FLAC."""
