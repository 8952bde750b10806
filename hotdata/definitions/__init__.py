"""Definitions as code: jobs, sources and keys to a file and back."""
