"""Copies of live objects that never write to the original."""
