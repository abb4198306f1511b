"""Reading `configs/*.yaml`: base includes, overrides, errors. Each part's settings class lives with the part."""
