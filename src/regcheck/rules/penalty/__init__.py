"""Weight decay and explicit penalties."""
