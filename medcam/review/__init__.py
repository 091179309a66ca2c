"""Reading and judging cases as plain Python: no user interface in here."""
