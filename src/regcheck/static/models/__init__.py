"""Builds the graphs of model classes from source."""
