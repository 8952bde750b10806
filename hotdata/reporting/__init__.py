"""Reports and statements: what a day, a week, a month came to, worked out from the records."""
