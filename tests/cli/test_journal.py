"""`bucketwatch journal verify`: what the auditor sees, and the exit status a script goes by."""

import pytest
from typer.testing import CliRunner

from detector.cli import app
from detector.errors import InputError, UnreadablePathError
from tests.contract.test_journal import Bucket, File, entry


@pytest.fixture(params=["file", "s3"])
def place(request, tmp_path):
    return File(tmp_path) if request.param == "file" else Bucket(request.getfixturevalue("aws"))


def name(place):
    return str(place.path) if isinstance(place, File) else f"s3://{place.bucket}/deep/journal"


def verify(*arguments):
    return CliRunner().invoke(app, ["journal", "verify", *arguments])


def test_a_whole_journal_is_status_0_and_says_where_it_ends(place):
    """The last hash is what to keep elsewhere."""
    written = place.open()
    written.append([entry(1), entry(2)])
    done = verify(name(place))
    assert done.exit_code == 0
    assert written.head.hash in done.output


def test_a_broken_journal_is_status_3_and_says_what(place):
    """A beginning that is missing, as an example of all that is wrong."""
    place.open().append([entry(7)])
    done = verify(name(place))
    assert done.exit_code == 3
    assert "missing" in done.output


def test_a_cut_at_the_end_is_status_3_for_whoever_kept_the_hash(place):
    """The chain alone cannot know what followed."""
    written = place.open()
    written.append([entry(1)])
    assert verify(name(place), "--head", written.head.hash).exit_code == 0
    done = verify(name(place), "--head", "0" * 63 + "1")
    assert done.exit_code == 3
    assert "the end was cut" in done.output


def test_a_wrong_place_or_hash_is_the_users_mistake(tmp_path, aws):
    """Status 2 at the command line."""
    bucket = Bucket(aws)
    for place in (str(tmp_path / "nowhere"), f"s3://{bucket.bucket}/elsewhere"):
        assert isinstance(verify(place).exception, UnreadablePathError)
    assert isinstance(verify(str(tmp_path), "--head", "x").exception, InputError)
