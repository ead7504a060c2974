"""What logs do not tell about a loss. Pure: a page that tells what is known has to tell what is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from detector.core.amounts import counted

OF_OBJECTS = (
    ("decrypts_only", "how much was read of {}: known by decryption only, the read itself is in none of these logs"),
    ("version_unknown", "which version was read, for {}: a read that names none had what was current then"),
    ("whole_unknown", "whether all of an object was sent, for {}: only access logs say it"),
    ("ranges_only", "whether all was read of {} read in ranges only"),
)
"""Count of objects in the summary → what is not known of them."""


def cannot_show(loss: dict[str, Any]) -> Iterator[str]:
    """Sentences without their full stop. loss: the summary."""
    if lost := loss["who"].get("findings_lost"):
        more = f" and {len(lost) - 5:,} more" if len(lost) > 5 else ""
        yield f"whom findings {', '.join(lost[:5])}{more} are about: they are not in the file of findings (--findings)"
    if loss["copies"]:
        yield f"how many bytes {loss['copies']:,} copies moved: no log says it, so more left than the bytes told"
    if foreign := [one["bucket"] for one in loss["copied_to"] if not one["readers_count"]]:
        names = ", ".join(foreign[:5])
        yield f"what became of copies in {names}: no read there is in these logs, which need not cover those buckets"
    yield from (text.format(counted(loss[name], "object")) for name, text in OF_OBJECTS if loss[name])
    if loss["logged_twice"]:
        names = ", ".join(loss["logged_twice"][:5])
        yield f"how often and how much was read in {names}: two kinds of log tell of the same requests (--prefer)"
    if loss["owners"]["pattern"] is None:
        yield "whose the objects are: no pattern of owners was given (--owner)"
    elif loss["owners"]["objects_without"]:
        yield f"whose {counted(loss['owners']['objects_without'], 'object')} would be: no owner fits their keys"
    if loss["followed"]["capped"]:
        yield "everybody who belongs to it: there were too many sessions to follow"
    yield "what was done with the objects after they left, and reads that AWS did not log: access logs are best effort"
