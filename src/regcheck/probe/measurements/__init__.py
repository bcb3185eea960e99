"""The measurements: one module each, whose `measure` a probe runs for the value of the same name in `core`."""
