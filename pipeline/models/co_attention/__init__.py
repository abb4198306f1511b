"""Look, Listen and Attend: waveforms and clips that look at each other (paper 003)."""
