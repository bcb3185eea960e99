"""Options, the configuration file and the selection of rules. No torch."""
