"""What predictors that learn nothing of sight and sound together reach on a synthetic world; a file a world."""
