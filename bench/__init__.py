"""How fast bucketwatch is beside what one would use instead. `python -m bench`; method: docs/BENCHMARKS.md."""
