"""Reads models and programs from source: parsed with `ast`, never imported, without torch."""
