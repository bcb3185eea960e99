"""From a model's class to its graph."""
