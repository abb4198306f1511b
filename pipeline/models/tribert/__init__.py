"""TriBERT (paper 001): frames, keypoints and sound, each with an embedder of its own, look at each other."""
