"""Videos that lie elsewhere, brought here: plain files over HTTP, and pages and ids through yt-dlp."""
