"""Suppressions: comments, declarations in code, the baseline, and the one decision about them."""
