"""Each run told top to bottom: audit, scan, fix, and the targets of an audit."""
