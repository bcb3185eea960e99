"""From a live model to its graph: record a real forward, or trace symbolically, once per mode."""
