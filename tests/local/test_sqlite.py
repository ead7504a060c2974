"""Laws of the SQLite state beyond the contract: damage is refused, the lock ends with its process, saves are whole."""

import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

from detector.errors import StateError
from detector.local.sqlite import VERSION, SqliteState


@pytest.fixture
def path(tmp_path):
    return tmp_path / "deep" / "state.db"


def saved(path, **parts):
    state = SqliteState(path)
    state.save(parts)
    state.close()


def change(path, *statements):
    db = sqlite3.connect(path)
    for statement in statements:
        db.execute(statement)
    db.commit()
    db.close()


DAMAGE = {
    "a byte of a part": "UPDATE parts SET content = x'00' WHERE name = 'a'",
    "a part that became text": "UPDATE parts SET content = 'one' WHERE name = 'a'",
    "a part that is gone": "DELETE FROM parts WHERE name = 'a'",
    "a part that came": "INSERT INTO parts SELECT 'c', content, sum FROM parts WHERE name = 'a'",
    "parts that changed places": "UPDATE parts SET name = CASE name WHEN 'a' THEN 'z' ELSE 'a' END",
    "no manifest": "DELETE FROM meta WHERE name = 'manifest'",
    "a name that is no text": "UPDATE parts SET name = CAST(x'ff' AS TEXT) WHERE name = 'a'",
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_refused_and_never_half_read(path, name):
    """A checkpoint is taken whole or not at all: whatever is wrong with a part, loading says so, with a remedy."""
    saved(path, a=b"one", b=b"two")
    change(path, DAMAGE[name])
    state = SqliteState(path)
    with pytest.raises(StateError) as caught:
        state.load()
    assert caught.value.remedy
    state.close()


def test_any_damaged_page_is_refused_or_harmless(path):
    """Wherever the file itself is overwritten, what is loaded is what was saved, or an error."""
    parts = {f"p{n}": os.urandom(3000) for n in range(10)}
    saved(path, **parts)
    whole = path.read_bytes()
    for at in range(0, len(whole), 1777):
        path.write_bytes(whole[:at] + b"\xa5" * 64 + whole[at + 64 :])
        try:
            state = SqliteState(path)
        except StateError:
            continue
        try:
            assert dict(state.load()) == parts
        except StateError:
            pass
        finally:
            state.close()


@pytest.mark.parametrize("content", [b"hello, I am a text file\n" * 100, b"SQLite format 3\0" + b"x" * 4096])
def test_a_file_that_is_no_database_is_refused(path, content):
    """Somebody else's file is neither read nor overwritten."""
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(StateError) as caught:
        SqliteState(path)
    assert caught.value.remedy
    assert path.read_bytes() == content


def test_a_folder_in_its_place_is_refused(path):
    """A path that cannot be a file is said as such."""
    path.mkdir(parents=True)
    with pytest.raises(StateError):
        SqliteState(path)


def test_another_version_is_refused(path):
    """State of another program version is not guessed at."""
    saved(path, a=b"1")
    change(path, "UPDATE meta SET value = '99' WHERE name = 'version'")
    with pytest.raises(StateError, match="99"):
        SqliteState(path)


def test_a_refused_file_leaves_no_lock(path):
    """After an error the same process can open the state again."""
    saved(path, a=b"1")
    change(path, "UPDATE meta SET value = '99' WHERE name = 'version'")
    with pytest.raises(StateError):
        SqliteState(path)
    change(path, f"UPDATE meta SET value = '{VERSION}' WHERE name = 'version'")
    state = SqliteState(path)
    assert dict(state.load()) == {"a": b"1"}
    state.close()


HOLD = """
import sys, time
from detector.local.sqlite import VERSION, SqliteState
state = SqliteState(sys.argv[1])
print("held", flush=True)
n = 0
while True:
    n += 1
    state.save({"a": n.to_bytes(8, "big"), "b": n.to_bytes(8, "big") * 20_000})
"""


def test_a_killed_holder_leaves_a_whole_checkpoint_and_no_lock(path):
    """kill -9 in the middle of saves: the second daemon is told the holder's pid, then gets one save, whole."""
    with subprocess.Popen([sys.executable, "-c", HOLD, str(path)], stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(StateError, match=str(holder.pid)):
            SqliteState(path)
        time.sleep(0.3)
        os.kill(holder.pid, signal.SIGKILL)
    state = SqliteState(path)
    parts = state.load()
    assert parts["b"] == parts["a"] * 20_000
    state.save({"a": b"next"})
    state.close()


def test_a_write_that_fails_is_a_state_error(path):
    """A database that refuses (a full disk) is an error of ours, and the old checkpoint stays."""
    state = SqliteState(path)
    state.save({"a": b"1"})
    state._db.execute("PRAGMA query_only = ON")
    with pytest.raises(StateError):
        state.save({"a": b"2"})
    state._db.execute("PRAGMA query_only = OFF")
    assert dict(state.load()) == {"a": b"1"}
    state.close()


def test_nobody_else_can_read_it(path):
    """A checkpoint holds names out of logs: only its owner may read it."""
    saved(path, a=b"1")
    assert path.stat().st_mode & 0o077 == 0
