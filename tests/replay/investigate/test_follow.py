"""Who is followed beside whom the question is about, and who is only told: the rule, case by case."""

from __future__ import annotations

import pytest

from detector.core.access import Log, Outcome
from replay.columns import Piece
from replay.investigate.scope import Question, scope
from replay.investigate.who import who
from tests.replay.investigate.archive import T0, Held, assume, investigated, parts_of, row, session

THIEF = session("thief")
HOUR = 3600


def reasons(out):
    """Session name → why its records are in it."""
    return {
        name.rsplit("/", 1)[-1]: because
        for table in out.event_tables
        for name, because in zip(table["session"].to_pylist(), table["because"].to_pylist(), strict=True)
    }


def test_sessions_that_a_followed_one_began_are_followed_from_then_on(tmp_path):
    """Through two roles, by access key; what such a session did before it was begun so, or with other keys, is not."""
    rows = [
        row("thief", 0), assume("thief", "B/b", 10), row("B/b", 20, "b"),
        assume("B/b", "C/c", 30, source_ip="192.0.2.9"), row("C/c", 40, "c", source_ip="192.0.2.10"),
        row("B/b", 5, "before"), row("B/b", 50, "other key", access_key="ASIAX"),
        assume("thief", "D/d", 60, outcome=Outcome.denied), row("D/d", 70, "d", source_ip="203.0.113.1"),
    ]  # fmt: skip
    told, out = investigated(tmp_path, rows, THIEF)
    assert reasons(out) == {"thief": "who", "b": "chain", "c": "chain"}
    assert {key for _, key in out.lost} == {"c-1/a.wav", "b", "c"}
    assert [one["began"] for one in told["followed"]["chain"]] == [session("b", "B"), session("c", "C")]


def test_an_access_log_that_names_no_key_is_followed_by_name_within_the_life_of_credentials(tmp_path):
    """And not a moment longer."""
    names = {"access_key": None, "log": Log.server_access, "source_ip": "192.0.2.9"}
    rows = [assume("thief", "B/b", 0), row("B/b", 60, "soon", **names), row("B/b", 13 * HOUR, "late", **names)]
    _, out = investigated(tmp_path, rows, THIEF)
    assert {key for _, key in out.lost} == {"soon"}


def test_the_columns_of_calls_that_began_sessions_are_made_codes_once(tmp_path, monkeypatch):
    """Not once for each session: a login service begins a hundred thousand."""
    made = Piece._coded

    def counted(number):
        names = []
        monkeypatch.setattr(Piece, "_coded", lambda piece, name: names.append(name) or made(piece, name))
        rows = [row("thief", 0), *(assume("Login/l", f"Reader/{n}", n) for n in range(number))]
        rows.append(assume("Login/l", "Reader/thief", 1))
        (tmp_path / str(number)).mkdir()
        kept, out = parts_of(tmp_path / str(number), rows, parts=1, group=1000), Held()
        [caller] = scope(kept, Question(who(THIEF), THIEF), out)["followed"]["callers"]
        assert caller["others_begun"] == number
        return len(names)

    assert counted(5) == counted(50)


@pytest.mark.parametrize(("others", "followed"), [(1, True), (2, False), (30, False)])
def test_an_address_is_followed_unless_others_share_it(tmp_path, others, followed):
    """One session may have one other beside it; an office's way out has many, and nobody there is dragged in."""
    rows = [row("thief", 0)] + [row(f"Staff/s-{n}", n, f"s-{n}") for n in range(others)]
    told, out = investigated(tmp_path, rows, THIEF)
    assert (set(reasons(out).values()) == {"who", "same_source"}) is followed
    [address] = told["followed"]["addresses"]
    assert (address["others"], address["followed"]) == (others, followed)


def test_many_sessions_of_a_role_drag_in_no_more_than_one_does(tmp_path):
    """At most three others, however many of the role's own sessions were there."""
    rows = [row(f"thief-{n}", n) for n in range(10)] + [row(f"Staff/s-{n}", n, f"s-{n}") for n in range(4)]
    _, out = investigated(tmp_path, rows, "arn:aws:iam::111122223333:role/x/Reader")
    assert set(reasons(out).values()) == {"who"}


@pytest.mark.parametrize(
    "where", [{"source_ip": "10.1.2.3"}, {"vpc_endpoint": "vpce-1"}, {"source_ip": "athena.amazonaws.com"}]
)
def test_private_addresses_endpoints_and_services_are_never_followed(tmp_path, where):
    rows = [row("thief", 0, **where), row("Staff/s", 5, "s", **where)]
    told, out = investigated(tmp_path, rows, THIEF)
    assert reasons(out) == {"thief": "who"}
    assert told["followed"]["addresses"] == []


def test_an_address_is_followed_about_that_time_only(tmp_path):
    rows = [row("thief", 0), row("Staff/s", HOUR, "near"), row("Staff/s", 7 * HOUR, "far")]
    _, out = investigated(tmp_path, rows, THIEF)
    assert {key for _, key in out.lost} == {"c-1/a.wav", "near"}


def test_who_began_a_session_from_the_same_address_is_followed(tmp_path):
    """With his credentials, wherever he used them about that time; and what else he began."""
    rows = [
        assume("User/boss", "Reader/thief", 0), row("thief", 10), row("User/boss", 20, "boss", source_ip="203.0.113.5"),
        assume("User/boss", "E/e", 30), row("E/e", 40, "e", source_ip="203.0.113.6"),
    ]  # fmt: skip
    told, out = investigated(tmp_path, rows, THIEF)
    assert reasons(out) == {"thief": "who", "boss": "caller", "e": "chain"}
    assert [one["followed"] for one in told["followed"]["callers"]] == [True]


@pytest.mark.parametrize(("address", "others"), [("203.0.113.9", 0), ("198.51.100.7", 5)])
def test_who_began_it_is_told_and_not_followed_from_elsewhere_or_if_he_serves_everybody(tmp_path, address, others):
    """A service that hands out sessions, or a login from another place: named, so that one may ask about it next."""
    rows = [
        assume("Broker/b", "Reader/thief", 0, source_ip=address),
        row("thief", 10),
        row("Broker/b", 20, "b", source_ip=address),
    ]
    rows += [assume("Broker/b", f"F/f-{n}", n, source_ip=address) for n in range(others)]
    rows += [row(f"Staff/s-{n}", n, f"s-{n}") for n in range(5)]
    told, out = investigated(tmp_path, rows, THIEF)
    assert set(reasons(out)) == {"thief"}
    [caller] = told["followed"]["callers"]
    assert (caller["caller"], caller["followed"], caller["others_begun"]) == (session("b", "Broker"), False, others)


COPY = {"operation": "copy", "destination": "drop", "destination_account": "444455556666"}


def test_who_reads_copies_afterwards_is_in_it_and_the_usual_readers_are_told(tmp_path):
    """By the key of the copy; who read there before the first copy is the place's own pipeline."""
    there = {"bucket": "drop", "source_ip": "203.0.113.1"}
    rows = [
        row("Pipe/p", -50, "old", **there), row("thief", 0, "a", destination_key="x/a", **COPY),
        row("Pipe/p", 20, "x/a", **there), row("Buyer/b", 30, "x/a", **there), row("Buyer/b", 40, "unrelated", **there),
        row("Early/e", -5, "x/a", **there | {"source_ip": "203.0.113.2"}),
    ]  # fmt: skip
    told, out = investigated(tmp_path, rows, THIEF)
    assert reasons(out) == {"thief": "who", "b": "copy"}
    [copied] = told["copied_to"]
    assert [(one["session"], one["usual"], one["reads"]) for one in copied["readers"]] == [
        (session("b", "Buyer"), False, 1), (session("p", "Pipe"), True, 1),
    ]  # fmt: skip
    assert (copied["account"], copied["copies"], copied["keys_known"]) == ("444455556666", 1, True)
    assert (told["objects"], told["copies_read"], told["bytes_at_least"]) == (1, 1, True)


def test_copies_of_copies_are_followed(tmp_path):
    rows = [
        row("thief", 0, "a", destination_key="x", **COPY),
        row("Two/t", 10, "x", **COPY | {"bucket": "drop", "source_ip": "192.0.2.1", "destination": "far"}),
        row("Three/t3", 20, "y", bucket="far", source_ip="192.0.2.2"),
    ]  # fmt: skip
    told, out = investigated(tmp_path, rows, THIEF)
    assert reasons(out) == {"thief": "who", "t": "copy", "t3": "copy"}
    assert [one["bucket"] for one in told["copied_to"]] == ["drop", "far"]


def test_a_copy_that_does_not_name_its_key_leaves_every_later_read_there_in_question(tmp_path):
    rows = [row("thief", 0, "a", **COPY), row("Buyer/b", 30, "whatever", bucket="drop", source_ip="192.0.2.1")]
    told, out = investigated(tmp_path, rows, THIEF)
    assert reasons(out) == {"thief": "who", "b": "copy"}
    assert told["copied_to"][0]["keys_known"] is False


def test_the_period_holds_for_all_that_is_followed(tmp_path):
    rows = [row("thief", 0, "a"), assume("thief", "B/b", 10), row("B/b", 20, "b"), row("thief", 100, "late")]
    _, out = investigated(tmp_path, rows, THIEF, since=T0 + 5, until=T0 + 100)
    assert {key for _, key in out.lost} == {"b"}
