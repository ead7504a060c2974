"""How much one file, record or line may be: what is larger is refused, with the limit's name in the reason. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bytes.

    inflated: what a file may inflate to (a CloudTrail file has at most 50 MB compressed, inflated about 10 times that).
    record: of a CloudTrail record (AWS writes at most 256 KB, 1 MB where "large events" are on).
    line: of an access log.

    How deep JSON may be nested is bounded by the decoder, at about 1,000 levels, and is no setting: a record that is
    deeper is rejected as `too_deep`.
    """

    inflated: int = 1 << 30
    record: int = 16 << 20
    line: int = 64 << 10


LIMITS = Limits()
