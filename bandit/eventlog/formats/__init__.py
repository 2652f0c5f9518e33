"""What the event log can be exported as: one module a format."""
