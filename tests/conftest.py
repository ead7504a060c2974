"""Fixtures every test may use, and how hypothesis runs.

The same examples on every run, and no deadline: a test never fails for the speed of the machine. To look for new ones:
`HYPOTHESIS_PROFILE=explore make test`.
"""

import os
import signal

import pytest
from hypothesis import settings

from tests.iam import emulator, simulator
from tests.ministack import ministack, ministack_server
from tests.servers import aws, moto_server

settings.register_profile("same", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "same"))

# started in the background of a shell, we and our children would be deaf to it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

FIRST = ("tests/test_docs.py::test_every_runnable_command_runs",)
"""Tests of minutes: begun last, they would leave the other core with nothing to do."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest go first."""
    items.sort(key=lambda item: item.nodeid not in FIRST)


__all__ = ["aws", "emulator", "ministack", "ministack_server", "moto_server", "simulator"]
