"""Looks at the records for what somebody should know of, and tells them: once, and when it is over."""
