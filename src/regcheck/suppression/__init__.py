"""Findings that the user has declared to be intended."""
