"""A pytest suite under watch: the hooks that drive a session, and its output."""
