"""Where dropout stands in a model."""
