"""A pytest suite under watch: what its tests show, gathered over the session."""
