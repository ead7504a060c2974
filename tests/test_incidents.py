"""Which alerts are news: when an incident is told again, and that nobody is left in the dark."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector import incidents as module
from detector.core.finding import Finding
from detector.core.incident import incident_id
from detector.core.owner import owners
from detector.core.redaction import hashed, leaving
from detector.incidents import Incidents

NOW = 1_777_626_000


def found(name="a", *, person="ann", at=NOW, state="opened", **changes):
    who = {"session": f"s-{name}", "role": changes.pop("role", "reader"), "account": "1", "source_identity": person}
    given_ = {
        "finding_id": f"f-{name}-{at}", "rule_id": "bulk", "title": "", "kind": "threshold", "severity": "high",
        "state": state, "opened_at": at, "last_at": at + 60, "window_seconds": 300, "measure": "objects",
        "threshold": 10, "peak_value": 20, "peak_at": at, "group": {}, "group_id": 0, "principal": who,
        "explanation": "", "alert_ids": (f"a-{name}-{at}",),
    }  # fmt: skip
    return Finding(**given_ | changes)


class Desk:
    """Incidents, and who was woken by what."""

    def __init__(self, incidents=None):
        self.incidents, self.now = incidents or Incidents(), NOW

    def tell(self, finding, *, held=False):
        """Whether the finding's own alert pages, and the update that is due. held: a digest takes it."""
        joining = self.incidents.take(finding, self.now)
        if joining.pages and not held:
            self.incidents.paged(joining, finding.alert_ids[0], self.now)
        return joining.pages, joining.update and joining.update["incident"]["findings"]


def desk(count=1):
    """A desk that has been told of an incident of so many findings."""
    made = Desk()
    for number in range(count):
        made.tell(found(f"{number}"))
    return made


def test_one_page_then_an_update_at_each_doubling():
    made = Desk()
    told = [made.tell(found(f"{n}")) for n in range(20)]
    assert told[0] == (True, None)
    assert [one for _, one in told if one] == [2, 4, 8, 16]
    assert not any(pages for pages, _ in told[1:])


@pytest.mark.parametrize(
    "changes",
    [{"severity": "critical"}, {"role": "other"}, {"rule_id": "decoy"}, {"peak_value": 40},
     {"evidence": {"buckets": ["b1", "b2"]}}],
)  # fmt: skip
def test_what_is_new_about_an_incident_is_told_at_once(changes):
    """More severe, another role, another rule, twice the worst peak, more buckets; the same again is not."""
    assert desk(5).tell(found("x")) == (False, None)
    assert desk(5).tell(found("x", **changes)) == (False, 6)


def test_a_silent_finding_that_grows_is_told():
    made = desk(5)
    assert made.tell(found("4", state="updated", peak_value=39)) == (False, None)
    assert made.tell(found("4", state="updated", peak_value=40)) == (False, 5)


def test_an_incident_of_which_nothing_was_open_is_told_when_it_goes_on():
    made = desk(5)
    assert made.tell(found("0", state="closed")) == (True, None)
    for number in range(1, 4):
        assert made.tell(found(f"{number}", state="closed")) == (False, None)
    assert made.tell(found("4", state="closed")) == (False, 5)
    assert made.tell(found("x")) == (False, 6)


def test_a_day_later_it_is_told_again():
    made = desk(5)
    assert made.tell(found("x")) == (False, None)
    made.now += 86_400
    assert made.tell(found("y")) == (False, 7)


def test_if_nobody_was_told_the_next_finding_pages():
    """A digest took the first; or the first, of which people were told, was withdrawn: the others are told of then."""
    made = Desk()
    assert made.tell(found("0"), held=True) == (True, None)
    assert made.tell(found("1")) == (True, None)
    assert [made.tell(found(f"{n}")) for n in (2, 3)] == [(False, None), (False, 4)]
    made = desk(3)
    assert made.tell(found("0", state="withdrawn")) == (True, 3)


def test_whoever_was_withdrawn_alone_pages_anew():
    made = desk(1)
    assert made.tell(found("0", state="withdrawn")) == (True, None)
    assert made.tell(found("1")) == (True, None)


def test_in_doubt_it_pages(monkeypatch):
    """An incident that is full takes in nobody; one that was forgotten is a new one; old ones are alone."""
    monkeypatch.setattr(module, "MOST_MEMBERS", 3)
    made = desk(3)
    assert made.tell(found("x")) == (True, None)
    monkeypatch.setattr(module, "MOST_OPEN", 1)
    made.tell(found("y", person="bob", at=NOW + 500))
    made.incidents.forget_before(NOW)
    assert len(made.incidents.open) == 1
    assert made.tell(found("z", at=NOW - 10 * 86_400)) == (True, None)
    assert made.tell(found("unknown", state="updated")) == (True, None)


def test_an_incident_is_forgotten_a_day_after_its_last_finding_is_over():
    made = desk(2)
    made.incidents.forget_before(NOW + 10 * 86_400)
    assert len(made.incidents.open) == 1, "something of it is open"
    for number in range(2):
        made.tell(found(f"{number}", state="closed"))
    made.incidents.forget_before(NOW + 86_400 + 60)
    assert len(made.incidents.open) == 1
    made.incidents.forget_before(NOW + 86_400 + 61)
    assert made.incidents.open == {}
    assert made.incidents.changes() == {"incident/" + incident_id(found("0").finding_id): None}


def test_two_incidents_that_turn_out_to_be_one_keep_the_older_id():
    made = Desk()
    made.tell(found("0", person="ann"))
    made.tell(found("1", person="bob", at=NOW + 10))
    joining = made.incidents.take(found("2", at=NOW + 20, group={"person": "bob"}), NOW)
    assert joining.fields["incident_id"] == incident_id(found("0").finding_id)
    assert joining.fields["incident"]["findings"] == 3
    assert {link["what"] for link in joining.fields["incident"]["links"]} == {"ann", "bob"}
    assert list(made.incidents.open) == [joining.incident]


def test_an_incident_says_how_many_people_are_affected_at_least():
    """From what evidence shows when findings open, and when they have grown; where keys are hashed, so are they."""
    made = Desk(Incidents(owners(["raw/{contractor}/**"])))

    def of(*folders):
        return {"prefixes": [f"raw/{name}/" for name in folders], "sample_keys": ["raw/ann/1.wav", "other/1.wav"]}

    made.tell(found("0", evidence=of("ann", "bob")))
    made.tell(found("0", evidence=of("cid"), state="updated"))
    update = made.incidents.take(found("1", evidence=of("dan")), NOW).update
    assert update["incident"]["owners"] == {"count": 4, "shown": ["ann", "bob", "cid", "dan"], "at_least": True}
    assert "objects of at least 4 people" in update["explanation"]
    kept = Incidents(owners(["raw/{contractor}/**"]))
    kept.restore({name: part for name, part in made.incidents.changes().items() if part is not None})
    assert kept.open == made.incidents.open
    for how in ("hash", "prefix"):
        hidden = leaving(update, how)["incident"]["owners"]
        assert hidden == {"count": 4, "shown": sorted(map(hashed, ["ann", "bob", "cid", "dan"])), "at_least": True}
    assert "owners" not in desk(3).incidents.take(found("3"), NOW).update["incident"]


STEPS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.sampled_from(["ann", "bob", None]), st.integers(0, 5),
              st.sampled_from(["opened", "updated", "closed", "withdrawn"]), st.booleans()),
    max_size=25,
)  # fmt: skip


@given(steps=STEPS, cuts=st.sets(st.integers(0, 25)), seed=st.integers(0, 9))
def test_a_restart_anywhere_changes_no_decision(steps, cuts, seed):
    """What a checkpoint kept says the same as what went on; and no finding's opening is silent before a page."""
    whole, parts, cut = Desk(), {}, Desk()
    paged = set()
    for number, (name, person, hour, state, held) in enumerate(steps):
        finding = found(name, person=person, at=NOW + 7200 * hour, state=state)
        if number in cuts:
            parts = {n: p for n, p in (parts | cut.incidents.changes()).items() if p is not None}
            items = list(parts.items())
            random.Random(seed).shuffle(items)
            cut.incidents = Incidents()
            cut.incidents.restore(dict(items))
        told = whole.tell(finding, held=held)
        assert cut.tell(finding, held=held) == told
        incident = whole.incidents._of_alert.get(finding.alert_ids[0])
        if told[0] and not held:
            paged.add(incident)
        if state == "opened" and not told[0]:
            assert whole.incidents.open[incident].told.at, "silent, though nobody was told"
