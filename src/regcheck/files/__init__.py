"""Text, notebooks and positions: what regcheck reads and writes."""
