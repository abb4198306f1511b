"""Synthetic worlds: videos in which what sounds, and where, is known exactly. A world is a kind, with a folder of its
own; what several draw or play lies beside."""
