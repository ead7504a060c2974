"""What of object keys may leave the journal: as they are, their folders only, or hashes. Pure.

Every text of a finding that is made of a key is named here. With `hash` the same folder has the same hash wherever it
stands, so that findings can be held together; the bucket before it stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal

from detector.core.access import text_hash
from detector.core.finding import Finding, prefix_of

Redaction = Literal["none", "hash", "prefix"]


def redacted(evidence: Mapping[str, Any], redact: Redaction) -> dict[str, Any]:
    """Evidence as it may leave."""
    out = dict(evidence)
    if redact == "prefix":
        out["sample_keys"] = sorted({prefix_of(key) for key in out.get("sample_keys", ())})
    if redact == "hash":
        for name in ("sample_keys", "prefixes"):
            out[name] = sorted(map(hashed, out.get(name, ())))
    return out


def leaving(body: Mapping[str, Any], redact: Redaction) -> dict[str, Any]:
    """A finding's or an alert's fields as they may leave the journal; folders are in more of them than in evidence."""
    out = dict(body) | {"evidence": redacted(body.get("evidence") or {}, redact)}
    incident = body.get("incident") or {}
    if redact != "none" and "owners" in incident:  # an owner may stand in a file's name
        whose = sorted(map(hashed, incident["owners"]["shown"]))
        out["incident"] = incident | {"owners": incident["owners"] | {"shown": whose}}
    if redact != "hash":
        return out
    if "new_in" in (baseline := body.get("baseline") or {}):
        out["baseline"] = baseline | {"new_in": [[_folder(text), count] for text, count in baseline["new_in"]]}
    first_seen = body.get("first_seen") or {}
    if first_seen.get("what") == "prefix" and "new" in first_seen:
        out["first_seen"] = first_seen | {"new": sorted(map(_folder, first_seen["new"]))}
    group = body.get("group") or {}
    if "prefix" in group:
        hidden = _folder(group["prefix"])
        out["group"] = group | {"prefix": hidden}
        out["explanation"] = body["explanation"].replace(f"prefix {group['prefix']}", f"prefix {hidden}")
    return out


def leaving_finding(finding: Finding, redact: Redaction) -> Finding:
    """A finding as it may leave the journal."""
    fields = {"evidence": finding.evidence, "group": finding.group, "explanation": finding.explanation}
    out = leaving(fields | finding.details, redact)
    return replace(
        finding, **{name: out[name] for name in fields}, details={name: out[name] for name in finding.details}
    )


def leaving_owner(owner: str, redact: Redaction) -> str:
    """An owner's name, which is a part of keys, as it may leave."""
    return hashed(owner) if redact == "hash" else owner


def _folder(text: str) -> str:
    """`bucket/prefix`, its prefix hashed as in evidence."""
    bucket, slash, prefix = text.partition("/")
    return f"{bucket}/{hashed(prefix)}" if slash else text


def folder_redacted(prefix: str) -> str:
    """A folder, hashed as in evidence; the bucket's root stays."""
    return hashed(prefix) if prefix else prefix


def hashed(text: str) -> str:
    """What stands for a key, a folder or an owner where keys are hashed."""
    return f"xxh64:{text_hash(text):016x}"
