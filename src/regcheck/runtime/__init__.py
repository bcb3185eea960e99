"""What a running program does with its models and optimizers, written down as it happens."""
