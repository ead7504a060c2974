"""Law: what the application tells of itself changes nothing that rests on the logs of AWS."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from detector.blindness import Limits
from detector.core.access import Skip
from detector.core.admit import Admission
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.logs import access_audit
from detector.sight import Counted, Sight
from detector.watches import watches
from tests.streams import NOW, Event, batch, principal, rule

T0 = 1_777_626_000
tells_ = st.lists(
    st.fixed_dictionaries(
        {
            "timestamp": st.integers(T0, T0 + 900),
            "key": st.sampled_from(["k", "l", "m"]),
            "bucket": st.just("ml-voice-raw"),
            "requester": st.sampled_from([principal("a").session_shown, "dana"]),
            "purpose": st.sampled_from(["labelling", "training"]),
        }
    ),
    min_size=4,
    max_size=20,
)
reads_ = st.lists(
    st.builds(Event, time=st.integers(T0, T0 + 900), who=st.sampled_from("ab"), key=st.sampled_from("klm")),
    min_size=6,
    max_size=20,
)


def told(tells):
    into = BatchBuilder()
    access_audit.parse(b"\n".join(json.dumps(tell).encode() for tell in tells), "audit", into)
    return into.build()


def findings(rules, batches):
    engine = Engine(rules, watches())
    for one in batches:
        engine.process(one, NOW)
    found = [finding.to_json() for finding in engine.finish() if finding.state == "closed"]
    assert engine.failures == {}
    assert engine.books.balance()
    return found, engine


RULES = [rule("objects", 300, 2), rule("requests", 60, 2, id="any", group_by="source_ip", where={"outcome": "any"})]


@given(tells=tells_, reads=reads_)
def test_rules_do_not_count_what_they_do_not_name(tells, reads):
    """With the audit log and without it: the same findings. Its records are counted in the books."""
    without, before = findings(RULES, [batch(reads)])
    found, engine = findings(RULES, [told(tells), batch(reads)])
    assert found == without
    assert engine.books.access_events == before.books.access_events + len(
        {json.dumps(tell, sort_keys=True) for tell in tells}
    )
    assert engine.books.unresolved_bucket == 0


@given(tells=tells_, reads=reads_)
def test_a_rule_that_names_it_counts_it_alone(tells, reads):
    """`log: access_audit` counts what the application told, and nothing of AWS's logs."""
    naming = rule("requests", 300, 1, where={"operation": "read", "log": "access_audit"})
    found, _ = findings([naming], [told(tells), batch(reads)])
    alone, _ = findings([naming], [told(tells)])
    assert found == alone
    assert bool(found) == bool(tells)


def test_a_bucket_that_only_the_application_names_is_not_heard():
    """A bucket that fell out of the trail's selectors stays a sign of blindness, whatever the application says."""
    sight = Sight(Limits(), protected=["ml-voice-*"])
    engine = Engine(RULES, watches())
    one = told([{"timestamp": T0, "key": "k", "bucket": "ml-voice-raw", "purpose": "x"}])
    sight.look(engine, Counted(1, 0, 0), one, [], T0)
    assert list(sight.blindness.heard()) == []
    seen = batch([Event(T0)])
    sight.look(engine, Counted(1, 0, 0), seen, [], T0)
    assert list(sight.blindness.heard()) == ["ml-voice-raw"]


def test_preferring_one_of_the_logs_of_aws_does_not_skip_the_applications():
    """`prefer` chooses between two views of a request."""
    one = told([{"timestamp": T0, "key": "k", "bucket": "ml-voice-raw", "purpose": "x"}])
    for log in ("cloudtrail", "server_access"):
        assert (Admission.of(None, None, {"ml-*": log}).apply(one).skip == Skip.no).all()
