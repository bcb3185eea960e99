"""What the papers say, written to be read beside them: masks and gradients are handed in, so nothing here is random."""
