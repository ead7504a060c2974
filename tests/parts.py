"""Parts that a test needs and that may be missing: it is skipped and says so; on the build machine it fails."""

from __future__ import annotations

import os

import pytest


def need(there: object, what: str) -> None:
    """Skip the test if `what` is missing; fail it where BUCKETWATCH_REQUIRE_ALL=1 says that nothing may be."""
    if there:
        return
    if os.environ.get("BUCKETWATCH_REQUIRE_ALL") == "1":
        pytest.fail(f"missing: {what}")
    pytest.skip(f"missing: {what}")
