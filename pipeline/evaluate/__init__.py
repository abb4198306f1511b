"""What a trained model knows: measures with their controls, readouts, maps over a video, and the report."""
