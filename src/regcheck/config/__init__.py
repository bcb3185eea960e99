"""What the user asked for: options, configuration, selection and silencing. No torch."""
