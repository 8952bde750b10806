"""The sources and jobs that a new installation begins with, against one of several upstreams.

Made once, by `setup_hotdata`: what an operator changes or deletes afterwards stays as they left it.
"""
