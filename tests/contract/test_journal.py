"""The laws of a Journal, over both twins: a file, and objects in S3. `place`: a journal, opened as often as asked."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector import journal as of_file
from detector.aws import journal as of_s3
from detector.aws.journal import S3Journal
from detector.chain import EMPTY, GENESIS, Journal
from detector.errors import StateError


def entry(seq, **body):
    return {"seq": seq, "time": "2026-05-01T09:00:00Z", "kind": "opened", "body": body}


class File:
    def __init__(self, folder) -> None:
        self.path = folder / "deep" / "journal.jsonl"

    def open(self, mark=0) -> Journal:
        made = of_file.Journal(self.path)
        made.seek(mark)
        return made

    def content(self) -> bytes:
        return self.path.read_bytes()

    def examine(self, wanted=""):
        return of_file.examine(self.path, wanted)


class Bucket:
    def __init__(self, aws) -> None:
        self.s3, self.bucket = aws.client("s3"), aws.name("journal")
        self.s3.create_bucket(Bucket=self.bucket)

    def open(self, mark=0) -> Journal:
        made = S3Journal(self.bucket, "deep/journal", sleep=lambda _: None)
        made.seek(mark)
        return made

    def keys(self):
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def content(self) -> bytes:
        return b"".join(self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read() for key in self.keys())

    def examine(self, wanted=""):
        return of_s3.examine(self.bucket, "deep/journal", wanted)


@pytest.fixture(params=["file", "s3"])
def place(request, tmp_path):
    return File(tmp_path) if request.param == "file" else Bucket(request.getfixturevalue("aws"))


def lines(place):
    return [json.loads(line) for line in place.content().splitlines()]


def seqs(place):
    return [line["seq"] for line in lines(place)]


def test_entries_form_a_chain(place):
    """Each line has exactly the documented fields and carries the hash of the line before, over all appends."""
    written = place.open()
    assert written.head == EMPTY
    written.append([entry(1, a=1), entry(2, a=2)])
    written.append([entry(3)])
    found = lines(place)
    assert [list(line) for line in found] == [["seq", "time", "kind", "body", "prev", "hash"]] * 3
    assert [line["prev"] for line in found] == [GENESIS, found[0]["hash"], found[1]["hash"]]
    assert written.head == (3, found[2]["hash"])
    assert place.examine() == ([], written.head, False, ())


def test_what_is_appended_again_after_a_crash_is_skipped(place):
    """The same numbers twice leave one entry each, in this process and in the next, however the appends are cut."""
    place.open().append([entry(1, a=[1, 2.5, None]), entry(2, a="\u00fc")])
    again = place.open()
    again.append([entry(1, a=(1, 2.5, None)), entry(2, a="\u00fc"), entry(3)])
    again.append([entry(2, a="\u00fc"), entry(3)])
    again.append([entry(3), entry(4)])
    assert seqs(place) == [1, 2, 3, 4]
    assert place.examine().problems == []


def test_both_twins_write_the_same_lines(tmp_path, aws):
    """A journal in S3, put together, is a journal file."""
    one, other = File(tmp_path), Bucket(aws)
    for place in (one, other):
        place.open().append([entry(1, a=1)])
        place.open().append([entry(2, b="\ud800"), entry(3)])
    assert one.content() == other.content()


def test_two_holders_of_the_same_entries_do_not_fork_the_chain(place):
    """A second process with the same checkpoint that appends in between is continued, not overwritten."""
    first, second = place.open(), place.open()
    first.append([entry(1)])
    second.append([entry(1), entry(2)])
    third = place.open()
    third.append([entry(2), entry(3)])
    assert seqs(place) == [1, 2, 3]
    assert place.examine().problems == []


@pytest.mark.parametrize("late", [1, 2, 3])
def test_another_writers_entry_is_never_taken_for_ours(place, late):
    """Two writers, each with entries of its own under the same numbers: the later one is told, whenever it opened."""
    first = place.open()
    assert first.head == EMPTY
    first.append([entry(1)])
    second = place.open()
    assert second.head.seq == 1
    first.append([entry(2, by="first")])
    first.append([entry(3, by="first"), entry(4, by="first")])
    with pytest.raises(StateError, match="somebody else") as caught:
        (second if late < 3 else place.open()).append([entry(n, by="second") for n in range(2, 2 + late)])
    assert caught.value.remedy
    assert [line["body"].get("by") for line in lines(place)] == [None, "first", "first", "first"]
    assert place.examine().problems == []


def test_it_says_whether_numbers_are_anothers(place):
    """What is there as it is, and what is not there yet, agrees; anything else does not."""
    place.open().append([entry(1, a=1), entry(2, a=2)])
    opened = place.open()
    assert opened.agrees([])
    assert opened.agrees([entry(1, a=1), entry(2, a=2), entry(3)])
    assert opened.agrees([entry(7)])
    assert not opened.agrees([entry(2, a=9)])
    assert not opened.agrees([entry(1, a=1), entry(2, a=1)])
    assert not opened.agrees([entry(0)])


def test_the_end_is_found_from_any_mark(place):
    """The mark of a checkpoint is a hint: right, old, or of a journal that is no more, the end is the end."""
    written = place.open()
    marks = [0]
    for n in range(1, 20, 3):
        written.append([entry(n), entry(n + 1), entry(n + 2)])
        marks.append(written.mark)
    for mark in (*marks[::3], 5, 1 << 40):
        assert place.open(mark).head == written.head
    place.open(marks[3]).append([entry(22)])
    assert place.examine().problems == []


def test_a_hash_kept_elsewhere_shows_a_cut_at_the_end(place):
    """Whoever kept the hash of an entry hears whether it is still in the chain."""
    written = place.open()
    written.append([entry(1)])
    kept = written.head.hash
    written.append([entry(2)])
    assert place.examine(kept).seen
    assert not place.examine("f" * 64).seen


def test_an_append_of_nothing_writes_nothing(place):
    """No entry, no line."""
    place.open().append([])
    assert not isinstance(place, File) or place.content() == b""
    assert not isinstance(place, Bucket) or place.keys() == []


def test_a_missing_beginning_is_told(place):
    """A chain that begins in the middle (deleted and begun anew) is no whole journal."""
    place.open().append([entry(7)])
    assert place.examine().problems


@given(cuts=st.lists(st.integers(0, 4), max_size=8), texts=st.lists(st.text(), min_size=1, max_size=3))
@settings(max_examples=5, suppress_health_check=[HealthCheck.function_scoped_fixture])
@pytest.mark.parametrize("kind", ["file", "s3"])
def test_however_appends_are_cut_repeated_and_reopened_the_chain_is_the_same(kind, cuts, texts, tmp_path, aws):
    """Entries 1..n in appends of any size, each repeated by a new process: the lines are those of one append."""
    import uuid

    some, whole = tmp_path / uuid.uuid4().hex, File(tmp_path / uuid.uuid4().hex)
    place = File(some) if kind == "file" else Bucket(aws)
    entries, mark = [entry(n, text=texts[n % len(texts)]) for n in range(1, sum(cuts) + 1)], 0
    at = 0
    for cut in cuts:
        for start in (at, max(0, at - 2)):
            opened = place.open(mark)
            opened.append(entries[start : at + cut])
        mark, at = opened.mark, at + cut
    whole.open().append(entries)
    assert (place.content() if entries else b"") == whole.content()
    assert not entries or place.examine().problems == []
