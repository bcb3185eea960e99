"""Run a model under control, intervene in it, and measure."""
