"""Facts about torch: what its functions and layers mean. Standard library only."""
