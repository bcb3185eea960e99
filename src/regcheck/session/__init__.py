"""One watched run of any kind: what happened, and the verdicts."""
