"""Laws of the register: events by several writers, read in the order of their times; files that are none do no harm."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.local.files import FolderFiles
from detector.response.register import LONGEST, Register, cases, event, in_order, sound
from tests.response.matrix import rows

PLAN = next(rows()).planned()
CASE, OTHER = PLAN["case_id"], "fedcba9876543210"
AT = 1_777_626_000


def test_each_reads_what_the_others_wrote_once(tmp_path):
    """A writer does not read its own; all of it is there for who asks for all."""
    daemon, person = (Register(FolderFiles(tmp_path), writer) for writer in ("daemon", "person"))
    daemon.add(event(CASE, "applied", at=AT, by="daemon", plan=PLAN))
    person.add(event(CASE, "undone", at=AT + 5, by="person x", reason="a drill"))
    assert [told["what"] for told in daemon.new()] == ["undone"]
    assert daemon.new() == []
    assert [(told["what"], told["writer"]) for told in person.new()] == [("applied", "daemon")]
    assert [told["what"] for told in Register(FolderFiles(tmp_path), "responder").all()] == ["applied", "undone"]


def test_an_effect_takes_the_place_of_the_one_before(tmp_path):
    """It is no news: only who lists the cases reads it."""
    daemon, person = (Register(FolderFiles(tmp_path), writer) for writer in ("daemon", "person"))
    for number in range(3):
        daemon.add(event(CASE, "effect", at=AT + number, by="daemon", detail=str(number)))
    assert person.new() == []
    assert cases(person.all())[CASE]["effect"] == "2"


def test_two_events_of_one_second_are_both_kept(tmp_path):
    """Of one kind, case and second, and not the same; the very same twice is one."""
    daemon, person = (Register(FolderFiles(tmp_path), writer) for writer in ("daemon", "person"))
    for detail in ("a", "b", "a"):
        daemon.add(event(CASE, "changed", at=AT, by="daemon", detail=detail))
    assert sorted(told["detail"] for told in person.new()) == ["a", "b"]


def test_one_may_look_for_some_writers_only(tmp_path):
    """What the others wrote is read when it is asked for."""
    daemon, person, responder = (Register(FolderFiles(tmp_path), w) for w in ("daemon", "person", "responder"))
    daemon.add(event(CASE, "ordered", at=AT, by="daemon", plan=PLAN))
    person.add(event(CASE, "undone", at=AT + 1, by="person"))
    assert [told["what"] for told in responder.new("daemon")] == ["ordered"]
    assert [told["what"] for told in responder.new()] == ["undone"]


def test_what_is_no_event_is_passed_over(tmp_path):
    """Other names, other JSON, another case than its folder says, endless files: none of it stops the rest."""
    good = event(CASE, "applied", at=AT, by="daemon", plan=PLAN)
    files = {
        f"daemon/{CASE}/20260501T000000Z-applied.json": json.dumps(good),
        f"daemon/{OTHER}/20260501T000000Z-applied.json": json.dumps(good),
        f"stranger/{CASE}/20260501T000000Z-applied.json": json.dumps(good),
        f"daemon/{CASE}/x": json.dumps(good),
        f"daemon/{CASE}/a.json": "{",
        f"daemon/{CASE}/b.json": "[" * 100_000,
        f"daemon/{CASE}/c.json": json.dumps(good | {"at": "soon"}),
        f"daemon/{CASE}/d.json": json.dumps(good | {"detail": "x" * LONGEST}),
        f"daemon/{CASE}/e.json": json.dumps([good]),
        "daemon/../x.json": json.dumps(good),
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert [told["case_id"] for told in Register(FolderFiles(tmp_path), "person").all()] == [CASE]


def test_the_story_of_a_case():
    """Ordered, applied, extended, undone, applied again: the plan is the last one, what was there the first."""
    story = [
        event(CASE, "ordered", at=AT, by="daemon", plan=PLAN | {"v": 0}),
        event(CASE, "applied", at=AT + 1, by="responder", plan=PLAN | {"v": 1}, before={"a": "was"}),
        event(CASE, "applied", at=AT + 2, by="person", plan=PLAN | {"v": 2}, before={"a": "ours", "b": "late"}),
    ]
    found = cases(story)[CASE]
    assert (found["state"], found["plan"]["v"], found["before"]) == ("stands", 2, {"a": "was", "b": "late"})
    story.append(event(CASE, "undone", at=AT + 3, by="person"))
    assert cases(story)[CASE]["state"] == "undone"
    story.append(event(CASE, "applied", at=AT + 4, by="person", plan=PLAN, before={"a": "new"}))
    found = cases(story)[CASE]
    assert (found["state"], found["before"]) == ("stands", {"a": "new"})


def test_what_is_refused_opens_nothing():
    story = [event(CASE, "ordered", at=AT, by="daemon", plan=PLAN), event(CASE, "refused", at=AT + 1, by="responder")]
    assert cases(story)[CASE]["state"] == "refused"
    story.insert(1, event(CASE, "applied", at=AT, by="responder", plan=PLAN))
    assert cases(story)[CASE]["state"] == "stands"


GOOD = event(CASE, "applied", at=AT, by="daemon", plan=PLAN, before={"a": "was", "b": None}, logs=["x"])


@pytest.mark.parametrize(
    "change",
    [
        {"what": None}, {"what": []}, {"what": "everything"}, {"before": ["x"]}, {"before": {"a": 1}}, {"plan": "x"},
        {"plan": []}, {"plan": {}}, {"plan": PLAN | {"actions": []}}, {"plan": PLAN | {"actions": [{}]}},
        {"plan": PLAN | {"case_id": OTHER}}, {"finding": "x"}, {"finding": {"principal": "x"}}, {"logs": 5},
        {"logs": ["a\0b"]}, {"logs": [5]}, {"detail": 5}, {"at": 5}, {"at": "soon"}, {"schema": "x"},
        {"plan": PLAN | {"session": 1 << 70}}, {"case_id": 5},
        {"plan": PLAN | {"actions": [PLAN["actions"][0] | {"denial": {"user_ids": 5}}]}},
    ],
    ids=str,
)  # fmt: skip
def test_an_event_that_is_not_as_we_write_it_is_none(change):
    """Whoever may write a file may write anything into it."""
    assert sound(json.dumps(GOOD).encode()) is not None
    assert sound(json.dumps({**GOOD, **change}).encode()) is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff", b'{"detail": "\\ud800"}', b"[" * 200_000])
def test_bytes_that_are_no_event(data):
    assert sound(data) is None


JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.lists(st.tuples(st.sampled_from([*GOOD, "finding", "last_denied", "reason"]), JSONS), max_size=3))
def test_whatever_an_event_says_its_story_can_be_told(changes):
    """Events that are taken never break who folds or keeps them."""
    told = sound(json.dumps({**GOOD, **dict(changes)}).encode())
    if told is not None:
        for case in cases(in_order([told | {"writer": "person"}])).values():
            assert isinstance(case["state"], str)
            msgspec.msgpack.encode(case)


@given(st.permutations(range(6)))
def test_the_order_of_files_is_of_no_matter(order):
    """Times decide; an order comes before what answers it in the same second."""
    story = [
        event(CASE, "ordered", at=AT, by="d", plan=PLAN), event(CASE, "applied", at=AT, by="r", plan=PLAN),
        event(CASE, "undone", at=AT, by="p"), event(OTHER, "ordered", at=AT, by="d", plan=PLAN),
        event(OTHER, "failed", at=AT + 9, by="r"), event(CASE, "effect", at=AT + 3, by="d", detail="x"),
    ]  # fmt: skip
    found = cases(in_order([story[number] for number in order]))
    assert {case: one["state"] for case, one in found.items()} == {CASE: "undone", OTHER: "failed"}
