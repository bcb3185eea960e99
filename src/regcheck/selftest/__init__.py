"""Compare torch with the references: dropout layers, batch norms and optimizers, eager and compiled."""
