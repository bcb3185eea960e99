"""An abstract interpreter of the scanned source."""
