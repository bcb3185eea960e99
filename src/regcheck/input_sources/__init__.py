"""regcheck's own implementations of the hook `regcheck_inputs`: example inputs for known kinds of models."""
