"""What the admin's pages are made of: the site and its dashboard, charts, and words for times and states.

Apart from `hotdata.admin`, which registers models with the site and so can't be what the site is imported from.
"""
