"""Rates and layer settings."""
