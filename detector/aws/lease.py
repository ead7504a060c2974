"""The lease in S3: one object that says who is the one daemon, and that its holder keeps writing anew.

Rules of this file
- It changes hands by conditional writes only: of two that want it, one gets it.
- Clocks of machines are never compared. A holder trusts the lease for `duration` less a margin from before its last
  successful write was sent. Who waits takes it over when it has seen the very same body for a whole `duration` by its
  own clock; by then the holder has stopped trusting it, whatever happened to it.
- The clock goes on while a machine sleeps (CLOCK_BOOTTIME where there is one).
- `epoch` rises with every holder and is never set back; the object is never deleted, only marked as released.
- What cannot be told (a reply that never came) counts as lost once the time is up, not before.

A pause between the look at `held` and the act that follows cannot be excluded; the margin makes it rare, the fenced
checkpoint keeps state whole and alert ids tell copies. See docs/operator.md.
"""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable

import msgspec

from detector.aws.guarded import GuardedObject, OutrunError, Retries
from detector.aws.session import client
from detector.errors import EdgeError, InputError, StateError
from detector.response.plain import printable

SCHEMA = "bucketwatch.lease.v1"
DURATION = 30.0
"""Seconds after which a holder that is gone without a word is succeeded."""
TRUSTED = 0.8
"""Part of the duration for which the holder itself trusts a write; the rest is the margin."""
LOOK = 1.0
"""Seconds between looks of who waits."""


class Body(msgspec.Struct, frozen=True):
    """What lies in the object. nonce: of this very write. beat: how often the holder wrote it."""

    schema: str
    holder: str
    epoch: int
    beat: int
    nonce: str
    duration: float
    released: bool = False


def boottime() -> float:
    """Seconds that pass whether the machine is awake or not, where the system can tell."""
    which = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if which is None else time.clock_gettime(which)


class S3Lease:
    """The lease at `<prefix>/lease`. say: told who is waited for. clock, sleep: seconds to wait by."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        duration: float = DURATION,
        say: Callable[..., object] = lambda *_, **__: None,
        clock: Callable[[], float] = boottime,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self.me = f"{socket.gethostname()} process {os.getpid()} ({uuid.uuid4().hex[:8]})"
        self.other = ""
        self.epoch = 0
        self._duration, self._say, self._clock, self._sleep = float(duration), say, clock, sleep
        self._bucket, self._key = bucket, "/".join(filter(None, (prefix.strip("/"), "lease")))
        self._object: GuardedObject | None = None
        self._beat, self._until, self._lost = 0, float("-inf"), True
        self._ended = threading.Event()
        self._beating: threading.Thread | None = None

    def acquire(self, wait: float, stop: Callable[[], bool]) -> bool:
        """Wait for the lease; whether it is held now. Raises StateError or InputError if it can never be had."""
        until, waited = self._clock() + wait, _Waited()
        while not stop():
            try:
                if self._try(waited):
                    self._start_beating()
                    return True
            except EdgeError as error:
                self._unreachable(error, waited)
            if self._clock() >= until:
                return False
            self._sleep(min(LOOK, self._duration / 5))
        return False

    def held(self) -> bool:
        """Whether nobody else can have it, now and for the margin."""
        return not self._lost and self._clock() < self._until

    def release(self) -> None:
        """Let the next one have it at once."""
        self.fall_silent()
        if not self.held() or self._object is None:
            return
        self._lost = True
        try:
            self._put(self._object, released=True)
        except (EdgeError, OutrunError, InputError):
            return  # who waits gets it when the time is up

    def fall_silent(self) -> None:
        """Stop renewing, and say nothing to anybody: what a process does that is killed."""
        self._ended.set()
        if self._beating is not None:
            self._beating.join(self._duration)
            self._beating = None

    def _try(self, waited: _Waited) -> bool:
        """One look, and a write if there is reason for one."""
        guarded = self._guarded()
        found = _parsed(guarded.read(), guarded.where)
        if found and not self._free(found):
            longest = max(found.duration, self._duration)
            if not waited.long_enough(guarded.seen, self._clock(), longest):
                self._wait_for(found, guarded.where, waited)
                return False
        self.epoch, self._beat = (found.epoch if found else 0) + 1, 0
        try:
            self._write(guarded)
        except OutrunError:
            return False
        self._say("lease_taken", epoch=self.epoch, after=found.holder if found else "")
        return True

    def _free(self, found: Body) -> bool:
        """Given up by its holder, or by us in an attempt to take it of which no reply came."""
        return found.released or found.holder == self.me

    def _wait_for(self, found: Body, where: str, waited: _Waited) -> None:
        self.other = printable(found.holder)
        if waited.told != found.holder:
            waited.told = found.holder
            self._say("waiting_for_lease", holder=self.other, epoch=found.epoch, where=where)

    def _unreachable(self, error: EdgeError, waited: _Waited) -> None:
        """What passes is waited out and said once; what does not is the end."""
        if not error.retryable:
            raise StateError(error.what, where=error.where, remedy=error.remedy) from error
        if waited.told != "unreachable":
            waited.told = "unreachable"
            self._say("lease_unreachable", error=str(error))

    def _guarded(self) -> GuardedObject:
        if self._object is None:
            s3 = client("s3", attempts=1, connect_timeout=2, read_timeout=max(1.0, self._duration / 10))
            retries = Retries((0.05, 0.2), self._duration / 5, sleep=self._sleep, clock=self._clock)
            self._object = GuardedObject(s3, self._bucket, self._key, retries)
        return self._object

    def _body(self, *, released: bool = False) -> bytes:
        body = Body(SCHEMA, self.me, self.epoch, self._beat, uuid.uuid4().hex, self._duration, released)
        return msgspec.json.encode(body) + b"\n"

    def _write(self, guarded: GuardedObject) -> None:
        """Write it as ours. It holds from before the first attempt was sent: that may be the one that took effect."""
        sent = self._clock()
        self._put(guarded)
        self._until, self._lost = sent + self._duration * TRUSTED, False

    def _put(self, guarded: GuardedObject, *, released: bool = False) -> None:
        """Replace it, also if what lies there is an earlier write of ours of which no reply came."""
        self._beat += 1
        body = self._body(released=released)
        try:
            guarded.replace(body)
        except OutrunError as outrun:
            if not self._ours(outrun.body):
                raise
            guarded.replace(body)

    def _ours(self, body: bytes | None) -> bool:
        try:
            found = _parsed(body, "")
        except StateError:
            return False
        return found is not None and (found.holder, found.epoch) == (self.me, self.epoch)

    def _start_beating(self) -> None:
        self._ended.clear()
        self._beating = threading.Thread(target=self._renew, name="lease", daemon=True)
        self._beating.start()

    def _renew(self) -> None:
        """In a thread of its own: write it anew until it is released or lost."""
        every = self._duration / 4
        while not self._ended.wait(every):
            try:
                self._write(self._guarded())
                every = self._duration / 4
            except OutrunError as outrun:
                self._lose(outrun.body)
                return
            except Exception as error:  # noqa: BLE001  whatever it is: without this thread the lease would just run out
                self._say("lease_not_renewed", error=str(error), seconds_left=round(self._until - self._clock(), 1))
                every = min(1.0, self._duration / 10)

    def _lose(self, body: bytes | None) -> None:
        self._lost = True
        try:
            found = _parsed(body, "")
        except StateError:
            found = None
        self.other = printable(found.holder) if found else ""
        self._say("lease_lost", epoch=self.epoch, holder=self.other)


class _Waited:
    """What one who waits has seen. told: whom the log knows to be waited for."""

    def __init__(self) -> None:
        self.told = ""
        self._seen: str | None = None
        self._since = 0.0

    def long_enough(self, seen: str | None, now: float, duration: float) -> bool:
        """Whether this version has been there for so long, as seen from here. `now`: after the look."""
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since >= duration


def _parsed(body: bytes | None, where: str) -> Body | None:
    if body is None:
        return None
    try:
        found = msgspec.json.decode(body, type=Body)
    except msgspec.MsgspecError:
        found = None
    if found is None or found.schema != SCHEMA:
        raise StateError(
            "this is no lease of bucketwatch, or one of another version",
            where=printable(where),
            remedy="stop every daemon that uses this state.prefix, then delete the object; or choose another prefix",
        )
    return found
