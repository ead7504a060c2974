"""`python -m bench.command …`: one command of bucketwatch, of this checkout, as its user runs it; for `measure`."""

from __future__ import annotations

from detector.cli import main

if __name__ == "__main__":
    main()
