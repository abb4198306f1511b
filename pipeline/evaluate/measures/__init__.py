"""What a trained model is judged by, one file a measure."""
