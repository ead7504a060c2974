"""Whom a text means: told by its shape, by `--as`, or by a finding."""

from __future__ import annotations

import pytest

from detector.errors import InputError
from replay.investigate.who import near, of_finding, who
from tests.replay.investigate.archive import T0, investigated, principal, row, session

ROLE = "arn:aws:iam::111122223333:role/x/Reader"


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (session("thief"), "session"), ("AROAEXAMPLE:thief", "session"), (ROLE, "role"), ("AROAEXAMPLE", "role"),
        ("arn:aws-cn:sts::111122223333:assumed-role/Reader", "role"),
        ("arn:aws:iam::111122223333:user/a/b", "principal"), ("arn:aws:iam::111122223333:root", "principal"),
        ("anonymous", "principal"), ("anonymous@192.0.2.1", "principal"),
        ("service:athena.amazonaws.com", "principal"), ("192.0.2.1", "address"), ("192.0.2.0/24", "address"),
        ("2001:db8::/32", "address"), ("ASIAEXAMPLE", "access_key"), ("AKIAEXAMPLE", "access_key"),
        ("111122223333", "account"), ("vpce-0a1b", "vpc_endpoint"), ("0123456789abcdef", "finding"),
        ("a-0123456789abcdef", "finding"), ("i-0123456789abcdef", "incident"),
    ],
)  # fmt: skip
def test_the_shape_tells_what_it_is(text, kind):
    assert who(text).kind == kind


def test_a_name_without_a_shape_needs_to_be_told():
    with pytest.raises(InputError, match="--as"):
        who("contractor-42")
    assert who("contractor-42", "person").kind == "person"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (session("thief"), 2), ("AROAREADER:thief", 2), (ROLE, 3), ("AROAREADER", 3), ("198.51.100.7", 2),
        ("198.51.100.0/24", 3), ("ASIAREADERTHIEF", 2), ("111122223333", 4),
    ],
)  # fmt: skip
def test_whoever_is_meant_is_found(tmp_path, text, found):
    """By any of their names; a role in access logs, too, where it has no path."""
    rows = [row("thief", 0), row("thief", 1, source_ip="192.0.2.1"), row("other", 2, source_ip="198.51.100.8"),
            row("Staff/s", 20 * 3600, "s")]  # fmt: skip
    rows[2] = rows[2]._replace(
        who=principal("other")._replace(role_shown="arn:aws:sts::111122223333:assumed-role/Reader")
    )
    _, out = investigated(tmp_path, rows, text)
    assert len([because for because in out.taken.values() if because == "who"]) == found


def test_nobody_there_names_those_who_are_most_like_it(tmp_path):
    with pytest.raises(InputError) as failed:
        investigated(tmp_path, [row("contractor-42", 0), row("trainer", 1)], session("contractor-43"))
    assert failed.value.exit_code == 2
    assert session("contractor-42") in str(failed.value)


def test_names_that_contain_it_are_the_nearest():
    known = {session("contractor-42"), session("job"), ROLE}
    assert near("contractor-42", known)[0] == session("contractor-42")
    assert near("zzz", known) == []


FINDING = {
    "finding_id": "0123456789abcdef", "rule_id": "r", "opened_at": "2026-05-01T09:00:00Z",
    "last_at": "2026-05-01T10:00:00Z", "window_seconds": 300,
}  # fmt: skip


def test_a_finding_about_a_session_stands_for_all_it_did():
    found = of_finding(FINDING | {"principal": {"session": session("t"), "principal_id": "AROAX:t"}, "group": {}})
    assert (found.kind, found.texts) == ("session", (session("t"), "AROAX:t"))
    assert found.first < T0 < found.last


@pytest.mark.parametrize(
    ("group", "kind", "texts"),
    [
        ({"role": ROLE}, "role", (ROLE, "arn:aws:sts::111122223333:assumed-role/Reader")),
        ({"source_ip": "192.0.2.1"}, "address", ("192.0.2.1",)),
        ({"source_net": "192.0.2.0/24", "bucket": "b"}, "address", ("192.0.2.0/24",)),
        ({"source_net": "vpce-1"}, "vpc_endpoint", ("vpce-1",)),
    ],
)
def test_a_finding_about_a_group_stands_for_it_within_its_time(group, kind, texts):
    found = of_finding(FINDING | {"principal": None, "group": group, "evidence": {}})
    assert (found.kind, found.texts) == (kind, texts)
    assert (found.first, found.last) == (1_777_626_000 - 299, 1_777_626_000 + 3600)


def test_a_finding_about_nobody_stands_for_the_sessions_it_names_or_says_so():
    named = FINDING | {"principal": None, "group": {"bucket": "b"}, "evidence": {"sessions": [session("a")]}}
    assert of_finding(named).texts == (session("a"),)
    with pytest.raises(InputError, match="nobody in particular"):
        of_finding(named | {"evidence": {}})
    with pytest.raises(InputError, match="no finding"):
        of_finding({"principal": 5, "group": []} | {"opened_at": "soon"})
