"""Parsed records kept as Parquet. Read `kept` first: what a cache is, and who asks it.

`parts` says what a part of a cache is, `partfiles` how it lies in files; `settle` says which of the records count;
`whole` is what they add up to.
"""
