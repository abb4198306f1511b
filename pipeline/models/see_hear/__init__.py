"""See the Sound, Hear the Pixels (paper 002): audio and visual features of segments fused, and segments weighed."""
