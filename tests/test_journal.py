"""Laws of the journal: nothing is written twice, nothing changes unseen, a crash costs only what was not yet told."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector import journal
from detector.errors import StateError, UnreadablePathError
from detector.journal import GENESIS, Journal, verify


def entry(seq, **body):
    return {"seq": seq, "time": "2026-05-01T09:00:00Z", "kind": "opened", "body": body}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "journal.jsonl"


def lines(path):
    return path.read_bytes().splitlines(keepends=True)


def seqs(path):
    return [json.loads(line)["seq"] for line in lines(path)]


def test_entries_form_a_chain(path):
    """Each line has exactly the documented fields and carries the hash of the line before."""
    written = Journal(path)
    written.append([entry(1, a=1), entry(2, a=2)])
    written.append([entry(3)])
    found = [json.loads(line) for line in lines(path)]
    assert [list(line) for line in found] == [["seq", "time", "kind", "body", "prev", "hash"]] * 3
    assert [line["prev"] for line in found] == [GENESIS, found[0]["hash"], found[1]["hash"]]
    assert written.head == (3, found[2]["hash"])
    assert verify(path) == []


def test_what_is_appended_again_after_a_crash_is_skipped(path):
    """The same numbers twice leave one entry each, in this process and in the next."""
    Journal(path).append([entry(1), entry(2)])
    again = Journal(path)
    again.append([entry(1), entry(2), entry(3)])
    again.append([entry(3)])
    assert seqs(path) == [1, 2, 3]
    assert verify(path) == []


def test_a_torn_last_line_is_cut_and_told(path):
    """Wherever a crash cuts the last line, opening cuts it off, says so, and the entry can be appended again."""
    Journal(path).append([entry(1), entry(2, text="x" * 50)])
    whole, first = path.read_bytes(), lines(path)[0]
    for cut in range(len(first) + 1, len(whole)):
        path.write_bytes(whole[:cut])
        opened = Journal(path)
        assert opened.recovered is not None
        assert str(cut - len(first)) in opened.recovered
        assert opened.recovered.isprintable()
        assert path.read_bytes() == first
        opened.append([entry(2, text="x" * 50)])
        assert path.read_bytes() == whole


def test_a_whole_journal_is_not_said_to_be_recovered(path):
    """`recovered` is None unless something was cut."""
    assert Journal(path).recovered is None
    Journal(path).append([entry(1)])
    assert Journal(path).recovered is None


def test_a_block_of_zeros_after_a_power_cut_is_cut(path):
    """File systems may leave zeros where a line was to be."""
    Journal(path).append([entry(1)])
    with path.open("ab") as file:
        file.write(b"\0" * 5000)
    opened = Journal(path)
    assert opened.recovered
    opened.append([entry(2)])
    assert verify(path) == []


def test_damage_that_no_crash_makes_is_not_repaired(path):
    """A last entry that cannot be read even after the torn line is cut is evidence: nothing is written on it."""
    path.parent.mkdir()
    path.write_bytes(b'{"no": "journal"}\n{"torn')
    with pytest.raises(StateError) as caught:
        Journal(path)
    assert caught.value.remedy


TAMPERING = {
    "an edit": lambda ls: [ls[0], ls[1].replace(b'"n":2', b'"n":9'), *ls[2:]],
    "a cut in the middle": lambda ls: [ls[0], *ls[2:]],
    "a cut at the start": lambda ls: ls[1:],
    "a reordering": lambda ls: [ls[0], ls[2], ls[1], *ls[3:]],
    "a repetition": lambda ls: [*ls[:2], ls[1], *ls[2:]],
    "an insertion": lambda ls: [*ls[:2], b'{"seq":3}\n', *ls[2:]],
    "a torn end": lambda ls: [*ls[:-1], ls[-1][:-5]],
    "words": lambda ls: [*ls, b"hello\n"],
    "a field twice": lambda ls: [ls[0], ls[1].replace(b'{"seq":2', b'{"seq":7,"seq":2'), *ls[2:]],
    "a field more": lambda ls: [ls[0], ls[1].replace(b'{"seq":2', b'{"also":1,"seq":2'), *ls[2:]],
    "another time": lambda ls: [*ls[:3], ls[3].replace(b"09:00:00", b"10:00:00")],
}


@pytest.mark.parametrize("name", TAMPERING)
def test_tampering_shows_and_says_where(path, name):
    """Edits, cuts in the middle, reorderings and insertions are each reported with a line."""
    Journal(path).append([entry(n, n=n) for n in range(1, 5)])
    assert verify(path) == []
    path.write_bytes(b"".join(TAMPERING[name](lines(path))))
    problems = verify(path)
    assert problems
    assert all(problem.startswith("line ") for problem in problems)


@given(st.data())
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_single_byte_changes_unseen(tmp_path, data):
    """Whichever byte of a journal is changed to whatever else, verify finds it."""
    path = tmp_path / "j"
    path.unlink(missing_ok=True)
    Journal(path).append([entry(n, n=n) for n in range(1, 4)])
    whole = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(whole)
    assert verify(path)


@given(st.lists(st.text(), max_size=4))
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_breaks_a_line_or_a_terminal(tmp_path, texts):
    """Names out of a log are escaped: the file is printable ASCII, a line an entry, and reads back as it was."""
    path = tmp_path / "j"
    path.unlink(missing_ok=True)
    Journal(path).append([entry(n, text=text) for n, text in enumerate(texts)])
    assert verify(path) == []
    assert [json.loads(line)["body"]["text"] for line in lines(path)] == texts
    assert path.read_bytes().decode("ascii").replace("\n", "").isprintable()


def test_two_holders_do_not_fork_the_chain(path):
    """A second process that appends in between (a handover, a person's command) is continued, not overwritten."""
    first, second = Journal(path), Journal(path)
    first.append([entry(1)])
    second.append([entry(1), entry(2)])
    first.append([entry(2), entry(3)])
    assert seqs(path) == [1, 2, 3]
    assert verify(path) == []


APPEND = """
import sys
from detector.journal import Journal
journal = Journal(sys.argv[1])
for n in range(1, 100_000):
    journal.append([{"seq": n, "time": "t", "kind": "k", "body": {"x": "y" * 500}}])
    print(n, flush=True)
"""


def test_what_was_told_as_written_survives_a_kill(path):
    """kill -9 in mid-append: every entry whose append had returned is there, and the chain holds."""
    with subprocess.Popen([sys.executable, "-c", APPEND, str(path)], stdout=subprocess.PIPE) as writer:
        told = [int(writer.stdout.readline()) for _ in range(50)]
        writer.kill()
    opened = Journal(path)
    assert opened.head[0] >= told[-1]
    assert verify(path) == []


def test_a_failed_write_leaves_no_torn_line(path, monkeypatch):
    """On a full disk the half line is taken back, the error says what to do, and the entry can be written later."""
    written = Journal(path)
    written.append([entry(1)])
    real = os.fsync
    monkeypatch.setattr(journal.os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(StateError, match="No space left") as caught:
        written.append([entry(2)])
    assert caught.value.remedy
    monkeypatch.setattr(journal.os, "fsync", real)
    assert seqs(path) == [1]
    written.append([entry(2)])
    assert seqs(path) == [1, 2]
    assert verify(path) == []


def test_an_append_of_nothing_writes_nothing(path):
    """No entry, no line."""
    Journal(path).append([])
    assert path.read_bytes() == b""
    assert verify(path) == []


def test_a_long_last_line_is_found(path):
    """An entry longer than the block that is read from the end is still the last one."""
    Journal(path).append([entry(1), entry(2, text="x" * 300_000)])
    opened = Journal(path)
    assert opened.head[0] == 2
    opened.append([entry(3)])
    assert verify(path) == []


def test_a_path_that_cannot_be_read_is_the_users_mistake(tmp_path):
    """Verifying what is not there says so."""
    with pytest.raises(UnreadablePathError):
        verify(tmp_path / "nowhere")


def test_a_missing_beginning_is_told(path):
    """A chain that begins in the middle (a file deleted and begun anew) is no whole journal."""
    Journal(path).append([entry(7)])
    assert verify(path)
