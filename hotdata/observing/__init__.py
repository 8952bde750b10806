"""Looks at the records: is everything well, and what may be deleted."""
