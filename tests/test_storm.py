"""Laws of storm control: nothing is lost, the first of a kind is never hidden, the figures add up.

window   |----------------|----------------|
opened   1 2 3 4 5 6 7 8      9 10
alone    1 2 3                9              (single: 3; the second window follows a storm: the first only)
digest           4 5 6 7 8 ->       10 ->
"""

import copy

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.storm import Limits, Memory, Storm

LIMITS = Limits(window=60, single=3, total=5, every=60, critical_within=10, named=2, ids=4)


def alert(alert_id, rule="r", severity="high", state="opened", **more):
    body = {
        "alert_id": alert_id, "rule_id": rule, "severity": severity, "state": state, "title": "t", "kind": "threshold",
        "threshold": 10, "peak_value": 20, "opened_at": "2026-05-01T09:00:00Z", "last_at": "2026-05-01T09:00:00Z",
        "group": {"session": alert_id}, "measure": "objects", "window_seconds": 300, "runbook": "", "stage": "live",
    }  # fmt: skip
    return body | more


def test_a_bad_rule_makes_a_few_alerts_and_a_digest():
    """5,000 findings at once: the first few by themselves, one digest that counts the rest and says where they are."""
    storm = Storm()
    alone = [n for n in range(5000) if storm.offer(alert(f"a-{n}", peak_value=20 + n), n, 100)]
    assert alone == list(range(10))
    assert storm.due(399) == []
    (digest,) = storm.due(400)
    told = digest["digest"]
    assert (told["count"], told["states"]) == (4990, {"opened": 4990})
    assert told["journal"] == {"first": 10, "last": 4999}
    assert [one["alert_id"] for one in told["first"]] == [f"a-{n}" for n in range(10, 20)]
    assert [one["alert_id"] for one in told["largest"]] == [f"a-{n}" for n in range(4999, 4989, -1)]
    assert told["alert_ids"] == [f"a-{n}" for n in range(10, 110)]
    assert (digest["rule_id"], digest["severity"], digest["state"]) == ("r", "high", "opened")
    assert len(msgspec.json.encode(digest)) < 20_000
    assert storm.due(10_000) == []


def test_the_first_of_every_kind_goes_out_however_many_kinds_there_are():
    """`total` limits what comes after the first of a kind, never the first."""
    storm = Storm(LIMITS)
    assert all(storm.offer(alert(f"a-{n}", rule=f"r{n}"), n, 0) for n in range(100))
    assert not storm.offer(alert("b", rule="r0"), 200, 0)
    assert storm.offer(alert("c", rule="r0", severity="critical"), 201, 0)


def test_critical_ones_are_not_bound_by_the_others_and_told_soon():
    """A storm of anything else neither uses up their room nor delays their digest."""
    storm = Storm(LIMITS)
    for n in range(50):
        storm.offer(alert(f"a-{n}", rule=f"r{n % 5}"), n, 0)
    assert [storm.offer(alert(f"c-{n}", severity="critical"), 100 + n, 0) for n in range(5)] == [1, 1, 1, 0, 0]
    assert [digest["severity"] for digest in storm.due(10)] == ["critical"]
    assert {digest["severity"] for digest in storm.due(60)} == {"high"}


def test_while_a_storm_goes_on_one_alert_a_window_is_by_itself():
    """A storm of a day does not send `single` alerts every few minutes; when it is over, all is as before."""
    storm = Storm(LIMITS)
    told = {}
    for second in range(0, 600, 2):
        told.setdefault(second // 60, []).append(storm.offer(alert(f"a-{second}"), second, second))
    assert [sum(window) for window in told.values()] == [3] + [1] * 9
    assert all(storm.offer(alert(f"b-{n}"), n, 1000) for n in range(3))


def test_while_alerts_pile_up_only_the_first_of_a_kind_is_added():
    """A sink that is down for a day costs no more than one alert a kind and window, and digests."""
    storm = Storm(LIMITS)
    assert [storm.offer(alert(f"a-{n}"), n, 0, crowded=True) for n in range(3)] == [True, False, False]


def test_what_becomes_of_a_finding_goes_out_the_way_it_was_opened():
    """Nobody gets the end of a story whose beginning they did not see; one seen beginning is enough."""
    storm = Storm(LIMITS)
    ids = [f"a-{n}" for n in range(5)]
    alone = [storm.offer(alert(one), n, 0) for n, one in enumerate(ids)]
    for state in ("updated", "closed", "withdrawn"):
        assert [storm.offer(alert(one, state=state), 10, 30) for one in ids] == alone
    assert storm.offer(alert("a-4", state="closed", alert_ids=["a-4", "a-0"]), 10, 30)
    assert not storm.offer(alert("a-4", state="closed", alert_ids=["a-4", "a-3"]), 10, 30)
    assert storm.offer(alert("unknown", state="closed"), 11, 30)
    (digest,) = storm.due(60)
    assert digest["digest"]["states"] == {"opened": 2, "updated": 2, "closed": 3, "withdrawn": 2}


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["r", "s"]),
        st.sampled_from(["high", "critical"]),
        st.integers(0, 25),
        st.sampled_from(["opened", "updated", "closed"]),
        st.integers(0, 40),
        st.booleans(),
    ),
    max_size=60,
)


def play(steps, *, restart=False):
    """What went out by itself, and the digests, of a story; with a restart from the checkpoint after every step."""
    storm, parts, now, out, digests = Storm(LIMITS), {}, 0, [], []
    for seq, (rule, severity, name, state, wait, crowded) in enumerate(steps):
        now += wait
        offered = alert(f"{rule}-{severity}-{name}", rule, severity, state, peak_value=name)
        out.append(storm.offer(offered, seq, now, crowded=crowded))
        digests += storm.due(now)
        if restart:
            parts |= storm.changes()
            parts = {part: content for part, content in parts.items() if content is not None}
            memory = msgspec.msgpack.decode(msgspec.msgpack.encode(storm.memory), type=Memory)
            storm = Storm(LIMITS)
            storm.restore(memory, parts)
    return out, digests + storm.due(now, everything=True)


@given(STEPS)
@settings(max_examples=200)
def test_every_alert_goes_out_by_itself_or_is_counted_once(steps):
    """By rule, severity and state: alone plus the digests' figures is what was offered."""
    out, digests = play(steps)
    counted = {}
    for (rule, severity, _, state, *_), alone in zip(steps, out, strict=True):
        if not alone:
            counted[rule, severity, state] = counted.get((rule, severity, state), 0) + 1
    told = {}
    for digest in digests:
        assert digest["digest"]["count"] == sum(digest["digest"]["states"].values())
        for state, count in digest["digest"]["states"].items():
            key = digest["rule_id"], digest["severity"], state
            told[key] = told.get(key, 0) + count
    assert told == counted


@given(STEPS)
@settings(max_examples=200)
def test_the_first_opening_of_a_kind_is_always_by_itself(steps):
    """Also the first since a whole window has passed."""
    out, _ = play(steps)
    last, now = {}, 0
    for (rule, severity, _, state, wait, _), alone in zip(steps, out, strict=True):
        now += wait
        if state != "opened":
            continue
        if now - last.get((rule, severity), -1000) >= LIMITS.window:
            assert alone
        if alone:
            last[rule, severity] = now


@given(STEPS)
@settings(max_examples=100)
def test_a_restart_anywhere_changes_nothing(steps):
    """What is in the checkpoint is all there is: the same alerts and the same digests, with the same ids."""
    assert play(steps, restart=True) == play(steps)


@given(STEPS)
@settings(max_examples=100)
def test_digests_have_ids_of_their_own_and_what_they_name_was_offered(steps):
    """No two digests share an id; names and ids are within bounds, and every one of them was held."""
    out, digests = play(copy.deepcopy(steps))
    held = {f"{r}-{s}-{n}" for (r, s, n, *_), alone in zip(steps, out, strict=True) if not alone}
    assert len({digest["alert_id"] for digest in digests}) == len(digests)
    for digest in digests:
        told = digest["digest"]
        assert len(told["first"]) <= 2 >= len(told["largest"])
        assert len(told["alert_ids"]) <= 4
        assert {one["alert_id"] for one in told["first"] + told["largest"]} | set(told["alert_ids"]) <= held
