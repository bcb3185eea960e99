"""The values everything else speaks in. Standard library only."""
