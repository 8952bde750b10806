"""WHAT is kept fresh: entries are fetched from upstreams, stored in Redis and served. Knows no schedule."""
