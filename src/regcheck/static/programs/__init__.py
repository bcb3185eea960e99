"""From a program's source to the events that rules read."""
