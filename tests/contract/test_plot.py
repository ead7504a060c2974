"""The laws of Plot, over both twins: nothing real is ever overwritten, read or deleted."""

import contextlib
from hashlib import sha256

import pytest

from detector.aws.plot import S3Plot
from detector.errors import EdgeError
from detector.local.plot import FolderPlot
from detector.source import Found


class Folder:
    """A folder of buckets, and what somebody else does in it."""

    def __init__(self, root) -> None:
        self.root, self.plot, self.bucket = root, FolderPlot(root), "ml-voice"
        (root / self.bucket).mkdir()

    def put(self, key, data):
        path = self.root / self.bucket / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def get(self, key):
        path = self.root / self.bucket / key
        return path.read_bytes() if path.exists() else None


class Bucket:
    """A bucket on a real server; `versions`: it keeps versions."""

    def __init__(self, aws, *, versions) -> None:
        self.s3, self.bucket, self.plot = aws.client("s3"), aws.bucket(), S3Plot()
        if versions:
            self.s3.put_bucket_versioning(Bucket=self.bucket, VersioningConfiguration={"Status": "Enabled"})

    def put(self, key, data):
        self.s3.put_object(Bucket=self.bucket, Key=key, Body=data)

    def get(self, key):
        try:
            return self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].read()
        except self.s3.exceptions.NoSuchKey:
            return None


@pytest.fixture(params=["folder", "bucket", "versioned bucket"])
def place(request, tmp_path):
    if request.param == "folder":
        return Folder(tmp_path)
    return Bucket(request.getfixturevalue("aws"), versions=request.param == "versioned bucket")


def test_what_is_there_is_listed_in_order_with_its_size(place):
    """Below a prefix, and no more than was asked for."""
    for key in ("raw/b.wav", "raw/a.wav", "raw/sub/c.wav", "other"):
        place.put(key, key.encode())
    assert place.plot.listed(place.bucket, "raw/", 10) == [
        Found("raw/a.wav", 9), Found("raw/b.wav", 9), Found("raw/sub/c.wav", 13)
    ]  # fmt: skip
    assert [one.key for one in place.plot.listed(place.bucket, "", 1)] == ["other"]


def test_what_was_put_is_told_by_its_checksum(place):
    """Put once, it is there with these bytes and looked at without being read."""
    put = place.plot.put(place.bucket, "raw/new folder/ä.wav", b"decoy", "STANDARD")
    assert put is not None
    assert place.get("raw/new folder/ä.wav") == b"decoy"
    seen = place.plot.look(place.bucket, "raw/new folder/ä.wav")
    assert seen is not None
    assert seen.sha256 == sha256(b"decoy").hexdigest()
    assert place.plot.look(place.bucket, "raw/nothing") is None


def test_what_is_there_is_never_overwritten(place):
    """Whatever lies under a name stays; who wanted to put something there is told."""
    place.put("raw/a.wav", b"real")
    assert place.plot.put(place.bucket, "raw/a.wav", b"decoy", "STANDARD") is None
    assert place.get("raw/a.wav") == b"real"


def test_what_was_looked_at_is_deleted_and_nothing_that_came_since(place):
    """A real object that has taken the place of a decoy survives, however late it came."""
    place.plot.put(place.bucket, "raw/a.wav", b"decoy", "STANDARD")
    seen = place.plot.look(place.bucket, "raw/a.wav")
    place.plot.delete(place.bucket, "raw/a.wav", seen)
    assert place.get("raw/a.wav") is None
    place.plot.put(place.bucket, "raw/b.wav", b"decoy", "STANDARD")
    seen = place.plot.look(place.bucket, "raw/b.wav")
    place.put("raw/b.wav", b"a real object")
    with contextlib.suppress(EdgeError):  # where there are no versions it is refused
        place.plot.delete(place.bucket, "raw/b.wav", seen)
    assert place.get("raw/b.wav") == b"a real object"


def test_a_place_that_is_not_there_is_an_error(place):
    with pytest.raises(EdgeError):
        place.plot.listed("no-such-bucket-anywhere", "", 1)


def test_a_key_cannot_lead_out_of_the_folder(tmp_path):
    """A plan may have been written by anybody."""
    with pytest.raises(EdgeError, match="out of the folder"):
        FolderPlot(tmp_path / "in").put("b", "../../out", b"x", "STANDARD")
    assert not (tmp_path / "out").exists()


def test_the_class_of_an_object_is_as_was_asked(aws):
    bucket = aws.bucket()
    S3Plot().put(bucket, "a", b"x", "STANDARD_IA")
    assert aws.client("s3").head_object(Bucket=bucket, Key="a")["StorageClass"] == "STANDARD_IA"
