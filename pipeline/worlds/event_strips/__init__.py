"""Event-Strips: seconds in which something is seen and heard, only seen, only heard, or something else is heard."""
