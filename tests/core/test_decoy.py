"""Decoy rules: whoever takes what nobody has reason to take is found at once; everybody else never is."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import Log, Operation, Outcome, Row, text_hash
from detector.core.asked import asked
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.rule import DecoyRule, Reader
from detector.core.rulefile import read_rules
from detector.core.select import DecoySelector
from detector.errors import RuleFileError
from detector.watches import watches
from tests.streams import Event, batch, closed, decoys, principal

T0 = 1_777_626_000
BACKUP = {"role": "*role/Backup", "until": date(2026, 5, 1), "owner": "ops", "reason": "nightly copy"}


def rows(*given: tuple[str, str, Operation, Outcome]):
    """A batch: bucket, key, operation and outcome of each record."""
    builder = BatchBuilder()
    for number, (bucket, key, operation, outcome) in enumerate(given):
        builder.add(
            Row(
                Log.cloudtrail, T0 + number, number + 1, "1/r", operation=operation, outcome=outcome, bytes=1,
                who=principal("thief"), has_arn=True, api="x", bucket=bucket, key=key, event_id=str(number),
            )
        )  # fmt: skip
    return builder.build()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["ml-voice-raw", "other"]),
            st.sampled_from(["k1", "k2", "k3", "a/k1"]),
            st.sampled_from(list(Operation)),
            st.sampled_from(list(Outcome)),
        ),
        max_size=40,
    )
)
def test_what_fires_is_a_read_a_copy_or_a_restore_of_a_decoy_whatever_came_of_it(given_):
    """Held against a plain loop: bucket and key both count, and an attempt is one."""
    touches = (Operation.read, Operation.copy, Operation.restore)
    expected = [b == "ml-voice-raw" and k in ("k1", "a/k1") and op in touches for b, k, op, _ in given_]
    assert DecoySelector(decoys("k1", "a/k1")).mask(rows(*given_)).tolist() == expected


def test_a_rule_without_decoys_never_fires():
    assert not DecoySelector(decoys()).mask(rows(("ml-voice-raw", "k1", Operation.read, Outcome.success))).any()


def test_a_key_with_the_hash_of_a_decoy_is_none():
    """Hashes only find candidates: who can choose keys could aim at one."""
    selector = DecoySelector(decoys("k1"))
    one = rows(("ml-voice-raw", "k2", Operation.read, Outcome.success))
    selector._hashes = np.sort(one.object_hash(np.arange(1)))
    assert not selector.mask(one).any()
    assert text_hash("k1") != text_hash("k2")


def test_one_touch_is_a_finding_at_once_that_says_who_and_how_many():
    """No window has to fill; the evidence shows the decoys."""
    engine = Engine([decoys("k1", "k2")], watches(gather=True))
    engine.process(batch([Event(T0, key="k1"), Event(T0 + 60, key="k2"), Event(T0 + 9, "other", key="k3")]), T0)
    [finding] = engine.judge()
    assert (finding.state, finding.severity, finding.kind, finding.opened_at) == ("opened", "critical", "decoy", T0)
    assert finding.principal is not None
    assert finding.principal["session_name"] == "thief"
    assert finding.peak_value == 2
    assert finding.evidence["sample_keys"] == ["k1", "k2"]
    assert "2 decoys were read, copied or restored, or it was tried" in finding.explanation


def test_a_registered_reader_is_exempt_until_its_day_ends():
    """Then it fires: who reads on has to be asked about again. Everything that a reader names has to hold."""
    end = 1_777_680_000  # 2026-05-02
    rule = decoys("k1", readers=(BACKUP | {"role": "*:role/Role"},))
    events = [Event(end - 1, key="k1"), Event(end, key="k1")]
    [finding] = closed([rule], [events])
    assert finding.opened_at == end
    narrow = decoys("k1", readers=(BACKUP | {"role": "*:role/Role", "source_ip": "10.*"},))
    assert len(closed([narrow], [[Event(T0, key="k1", address="10.0.0.1")]])) == 0
    assert len(closed([narrow], [[Event(T0, key="k1", address="11.0.0.1")]])) == 1
    assert {"role", "source_ip"} <= asked(narrow)


def test_new_decoys_and_readers_count_from_then_on_and_nothing_open_is_lost():
    """The registry is read anew while the daemon runs: same windows, same alert ids."""
    engine = Engine([decoys("k1")], watches(gather=True))
    engine.process(batch([Event(T0, key="k1"), Event(T0, key="k2")]), T0)
    [first] = engine.judge()
    assert engine.adopt([decoys("k1").knowing([("ml-voice-raw", "k2")])]) == []
    engine.process(batch([Event(T0 + 5, key="k2")]), T0)
    engine.judge()
    [done] = [finding for finding in engine.finish() if finding.state == "closed"]
    assert (done.peak_value, done.alert_ids) == (2, first.alert_ids)
    assert decoys("k1").digest() == decoys("k1", "k2", readers=(BACKUP,)).digest()


def test_a_restart_goes_on_with_decoys_that_came_while_it_ran():
    engine = Engine([decoys("k1")], watches(gather=True))
    engine.process(batch([Event(T0, key="k1")]), T0)
    [first] = engine.judge()
    parts = {name: part for name, part in engine.changes().items() if part is not None}
    again = Engine([decoys("k1", "k2")], watches(gather=True))
    again.restore(parts)
    again.process(batch([Event(T0 + 5, key="k2")]), T0)
    again.judge()
    [done] = [finding for finding in again.finish() if finding.state == "closed"]
    assert (done.peak_value, done.alert_ids) == (2, first.alert_ids)


def written(**fields: Any) -> str:
    lines = "".join(f"    {name}: {value}\n" for name, value in fields.items())
    return f"rules:\n  - id: d\n    title: t\n    severity: critical\n    kind: decoy\n{lines}"


def test_what_a_rule_leaves_unsaid_means_any_attempt():
    [rule] = read_rules({"r.yaml": written(where="{bucket: ml-*}")})
    assert isinstance(rule, DecoyRule)
    assert (rule.where.operation, rule.where.outcome) == (("read", "restore"), ("any",))
    [said] = read_rules({"r.yaml": written(where="{operation: delete, outcome: success}")})
    assert (said.where.operation, said.where.outcome) == (("delete",), ("success",))


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"decoys": "[ml-voice/k1]"}, "decoys: expected text of the form"),
        ({"readers": "[{role: x, owner: o, reason: r}]"}, "until: required field is missing"),
        ({"readers": "[{until: 2027-01-01, owner: o, reason: r}]"}, "readers: expected session, role"),
        ({"readers": "[{role: x, until: 2027-01-01, owner: o, reason: r, allow: 3}]"}, "allow: unknown field"),
    ],
)
def test_mistakes_are_told_with_their_place(fields, told):
    with pytest.raises(RuleFileError) as caught:
        read_rules({"r.yaml": written(**fields)})
    assert told in str(caught.value)
    assert str(caught.value).startswith("r.yaml:6:")


def test_a_reader_matches_in_every_kind_of_log():
    """A rule that names the application's audit log has its readers there, too."""
    assert len(Reader.model_validate(BACKUP).where.log or ()) == 3
