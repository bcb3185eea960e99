"""Reads the source of programs as events."""
