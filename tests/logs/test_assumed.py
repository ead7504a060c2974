"""Laws of chains: who was begun with whose credentials, through any number of steps, from files in any order."""

import gzip
import json

from hypothesis import given
from hypothesis import strategies as st

from detector.logs.assumed import Assumed, as_principal, assumed, chained

ACCOUNT = "111122223333"


def record(caller, key, role, name, at="2026-05-01T09:00:00Z", **changes):
    """An AssumeRole event as CloudTrail writes it."""
    return {
        "eventVersion": "1.10", "eventTime": at, "eventSource": "sts.amazonaws.com", "eventName": "AssumeRole",
        "userIdentity": {"type": "AssumedRole", "principalId": caller, "accessKeyId": key},
        "requestParameters": {"roleArn": f"arn:aws:iam::{ACCOUNT}:role/x/{role}", "roleSessionName": name},
        "responseElements": {
            "credentials": {"accessKeyId": f"ASIA{role}{name}", "sessionToken": "…", "expiration": "…"},
            "assumedRoleUser": {"assumedRoleId": f"AROA{role}:{name}",
                                "arn": f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}"},
        },
    } | changes  # fmt: skip


def file(*records, packed=gzip.compress):
    return packed(json.dumps({"Records": records}).encode())


def test_a_session_begun_is_told():
    """Who, by whom, as which role; what was refused began nothing."""
    data = file(
        record("AROAA:thief", "ASIATHIEF", "B", "next"),
        record("AROAA:thief", "ASIATHIEF", "C", "no", errorCode="AccessDenied", responseElements=None),
        {"eventName": "GetObject", "userIdentity": None, "requestParameters": {"key": "AssumeRole"}},
    )
    [one] = assumed(data)
    assert one.caller == ("AROAA:thief", "ASIATHIEF")
    assert (one.user_id, one.role, one.access_key) == ("AROAB:next", f"arn:aws:iam::{ACCOUNT}:role/x/B", "ASIABnext")
    who = as_principal(one)
    assert (who["principal_id"], who["session_name"], who["account"]) == ("AROAB:next", "next", ACCOUNT)


def test_files_that_are_none():
    """Nothing to find, or nothing to read; never an exception."""
    assert assumed(b"") == []
    assert assumed(b"\x1f\x8bAssumeRole") == []
    assert assumed(b"AssumeRole {") is None
    assert assumed(file(record("a", "b", "B", "x", eventTime="soon"))) == []
    assert assumed(file(record("a", "b", "B", "x", responseElements={"assumedRoleUser": {}}))) == []
    assert assumed(file(record("a", "b", "B", "x", responseElements="x"))) in ([], None)


def test_chains_are_followed_by_session_and_by_key():
    """Through three roles; a stranger's sessions are not in it, nor is the one it begins with."""
    events = [
        Assumed(3, ("AROAC:c", ""), "AROAD:d", "arn", "role", ""),
        Assumed(1, ("AROAA:thief", "K1"), "AROAB:b", "arn", "role", "K2"),
        Assumed(2, ("", "K2"), "AROAC:c", "arn", "role", "K3"),
        Assumed(4, ("AROAX:x", "K9"), "AROAY:y", "arn", "role", "K8"),
        Assumed(5, ("AROAD:d", ""), "AROAA:thief", "arn", "role", ""),
    ]
    assert [one.user_id for one in chained("AROAA:thief", ["K1"], events)] == ["AROAB:b", "AROAC:c", "AROAD:d"]
    assert chained("AROAZ:z", [], events) == []
    assert chained("", [""], [Assumed(1, ("", ""), "AROAB:b", "arn", "role", "")]) == []


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 8)), max_size=30))
def test_chains_are_what_can_be_reached(pairs):
    """The transitive closure, in any order of events, cycles too."""
    events = [Assumed(n, (f"s{a}", ""), f"s{b}", "arn", "role", "") for n, (a, b) in enumerate(pairs)]
    reached, frontier = set(), {0}
    while frontier:
        frontier = {b for a, b in pairs if a in frontier | reached} - reached - {0}
        reached |= frontier
    assert {one.user_id for one in chained("s0", [], reversed(events))} == {f"s{n}" for n in reached}
