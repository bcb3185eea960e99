"""What follows train and eval mode, and what does not."""
