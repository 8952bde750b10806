"""Definitions as code: jobs, sources and keys to a file and back.

`shapes` says what of a model is written and how; `export` writes; `reading` reads text and says what is wrong with it
where; `plans` compares with what is there; `applying` makes it so, all or nothing.
"""
