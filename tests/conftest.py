"""Fixtures every test may use, and how hypothesis runs.

The same examples on every run, and no deadline: a test never fails for the speed of the machine. To look for new ones:
`HYPOTHESIS_PROFILE=explore make test`.
"""

import os
import signal

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

__all__ = ["aws", "emulator", "ministack", "ministack_server", "moto_server", "simulator"]
