"""Holds torch itself to the references: its dropping layers, batch norms and optimizers, eager and compiled."""
