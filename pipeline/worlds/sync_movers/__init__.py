"""Sync-Movers: objects that look alike, of which one moves with the sound."""
