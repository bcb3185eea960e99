"""The files and names of a scanned project."""
