"""The JSON endpoints: parse, call, show."""
