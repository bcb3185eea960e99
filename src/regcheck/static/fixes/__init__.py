"""Patches for findings of a scan."""
