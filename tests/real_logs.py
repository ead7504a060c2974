"""Where the real logs lie that come with the project's working copy, and how a test says that it needs them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REAL_LOGS = Path(__file__).resolve().parents[1].parent / "shared" / "real-logs"

_REQUIRED = os.environ.get("BUCKETWATCH_REQUIRE_ALL") == "1"

needs_real_logs = pytest.mark.skipif(
    not REAL_LOGS.is_dir() and not _REQUIRED,
    reason="the real logs are missing: expected the folder shared/real-logs beside the repository",
)
"""Skips a test where the real logs are missing. With BUCKETWATCH_REQUIRE_ALL=1 it runs, and fails for want of them."""
