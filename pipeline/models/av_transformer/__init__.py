"""The AV-transformer (paper 004): patches of neighbouring seconds and their sound, for audio-visual events."""
