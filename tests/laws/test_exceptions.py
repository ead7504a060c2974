"""Exceptions that are bound to something: the records they name do not count, all others do."""

from __future__ import annotations

from datetime import date

import pytest

from detector.core.asked import asked
from detector.core.engine import Engine
from detector.core.projection import columns
from detector.core.rule import KINDS
from detector.watches import watches
from tests.kinds import NOW, T0, Daemon, Fact, batch, replayed

WHO = {"role": "*:role/Reader", "until": date(2026, 12, 31), "owner": "o", "reason": "r"}
LAST = 1_798_761_600
"""The end of that day."""


def rule(*exceptions, kind="threshold", **fields):
    counted = {"measure": "requests", "window": "60s", "threshold": 1} if kind == "threshold" else {}
    common = {"id": "r", "title": "t", "severity": "high", "kind": kind, "exceptions": exceptions}
    return KINDS[kind].model_validate(common | counted | fields)


def record(fact, **texts):
    return fact.row()._replace(**texts)


@pytest.mark.parametrize(
    ("bound", "texts", "counts"),
    [
        ({"key": ("raw/**",)}, {"key": "raw/a/b"}, False),
        ({"key": ("raw/*",)}, {"key": "raw/a/b"}, True),
        ({"key": ("raw/**",), "bucket": ("voice",)}, {"key": "raw/a"}, False),
        ({"key": ("raw/**",), "bucket": ("other",)}, {"key": "raw/a"}, True),
        ({"network": ("198.51.100.0/24",)}, {}, False),
        ({"network": ("198.51.100.0/24",)}, {"source_ip": "::ffff:198.51.100.9"}, False),
        ({"network": ("198.51.100.0/28", "vpce-1")}, {"source_ip": "198.51.100.99"}, True),
        ({"network": ("198.51.100.0/28", "vpce-1")}, {"source_ip": "10.0.0.1", "vpc_endpoint": "vpce-1"}, False),
        ({"network": ("2001:db8::/32",)}, {"source_ip": "2001:db8::7"}, False),
        ({"network": ("0.0.0.0/0",)}, {"source_ip": "athena.amazonaws.com"}, True),
        ({"network": ("0.0.0.0/0",)}, {"source_ip": None}, True),
        ({"purpose": ("training",)}, {"purpose": "training"}, False),
        ({"purpose": ("training",)}, {"purpose": None}, True),
        ({"key": ("raw/**",), "network": ("198.51.100.0/24",)}, {"key": "raw/a", "source_ip": "8.8.8.8"}, True),
    ],
)
def test_what_fits_all_of_an_exception_does_not_count(bound, texts, counts):
    """For whom it is; for anybody else it counts."""
    chosen = rule(WHO | bound)
    mine, other = Fact(T0), Fact(T0 + 500, role="Other")
    _, closed = replayed(chosen, [[record(mine, **texts), record(other, **texts)]])
    assert [f.opened_at for f in closed] == ([T0] if counts else []) + [T0 + 500]
    engine = Engine([chosen], watches())
    engine.process(batch([record(mine, **texts)]).cut(columns([chosen])), NOW)
    assert engine.failures == {}
    assert bool(engine.finish()) is counts


def test_it_ends_with_its_last_day():
    """By the record's own time."""
    chosen = rule(WHO | {"key": ("**",)})
    _, closed = replayed(chosen, [[Fact(LAST - 1), Fact(LAST), Fact(LAST + 1)]])
    assert [(f.opened_at, f.peak_value) for f in closed] == [(LAST, 2)]


@pytest.mark.parametrize("kind", ["match", "scope", "sequence", "first_seen"])
def test_every_kind_that_counts_has_them(kind):
    fields = {
        "match": {},
        "scope": {"session_name": "x-{id}", "allowed_key": "{id}/**"},
        "sequence": {"within": "60s", "steps": ({"where": {"operation": "read"}}, {"where": {"operation": "read"}})},
        "first_seen": {"group_by": "bucket", "what": "role", "learn": "1d"},
    }[kind]
    facts = [Fact(T0, role="Old"), Fact(T0 + 3 * 86_400)]
    for exceptions, found in (((), True), ((WHO | {"key": ("raw/**",)},), False)):
        _, closed = replayed(rule(*exceptions, kind=kind, **fields), [facts])
        assert any("Reader" in str(f.to_json()) for f in closed) is found


def test_what_is_taken_out_of_the_count_begins_anew_and_its_wording_does_not():
    """Who answers for an exception changes nothing; what it takes out changes what was counted."""
    one = rule(WHO | {"key": ("raw/**",)}, threshold=2)
    reworded = rule(WHO | {"key": ("raw/**",), "owner": "p", "accept_blind": True}, threshold=2)
    wider = rule(WHO | {"key": ("raw/**", "x/**")}, threshold=2)
    assert one.digest() == reworded.digest() != wider.digest() != rule(threshold=2).digest()
    for new, found in ((reworded, ["opened"]), (wider, [])):
        daemon = Daemon(one)
        daemon.poll([Fact(T0, key="other")])
        daemon.rule = new
        daemon.restart()
        daemon.poll([Fact(T0 + 1, key="other")])
        assert [f.state for f in daemon.told] == found


def test_an_exception_that_asks_for_what_a_log_lacks_does_not_help():
    """The rule is evaluated all the same: it asks for nothing more than without it."""
    assert "purpose" not in asked(rule(WHO | {"purpose": ("x",)}))
