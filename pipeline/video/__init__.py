"""Reading a video: packets, keyframes, frames."""
