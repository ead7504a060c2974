"""The laws of Files, over both twins: bytes under a name, whole or not at all."""

import subprocess
import sys

import pytest

from detector.aws.files import PrefixFiles
from detector.errors import EdgeError
from detector.local.files import FolderFiles


class Folder:
    """A folder, and what somebody else sees of it."""

    def __init__(self, root) -> None:
        self.root, self.files = root, FolderFiles(root)

    def there(self):
        return {str(p.relative_to(self.root)): p.read_bytes() for p in self.root.rglob("*") if p.is_file()}


class Prefix:
    """A prefix of a bucket on a real server."""

    def __init__(self, aws) -> None:
        self.s3, self.bucket = aws.client("s3"), aws.bucket()
        self.files = PrefixFiles(self.bucket, "/some/where/")

    def there(self):
        found = self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])
        bodies = {o["Key"]: self.s3.get_object(Bucket=self.bucket, Key=o["Key"])["Body"].read() for o in found}
        return {key.removeprefix("some/where/"): body for key, body in bodies.items()}


@pytest.fixture(params=["folder", "prefix"])
def place(request, tmp_path):
    return Folder(tmp_path / "new" / "one") if request.param == "folder" else Prefix(request.getfixturevalue("aws"))


def test_what_is_put_is_there_under_its_name(place):
    """Names may have folders in them; the answer says where it is; a second one takes the place of the first."""
    where = place.files.put("date=2026-05-01/hour=09/a.parquet", b"one")
    assert where.endswith("date=2026-05-01/hour=09/a.parquet")
    place.files.put("b", b"")
    place.files.put("date=2026-05-01/hour=09/a.parquet", b"two")
    assert place.there() == {"date=2026-05-01/hour=09/a.parquet": b"two", "b": b""}


def test_what_is_there_is_listed_and_read(place):
    """Sorted names, folders in them; of a large one only as much as is wanted; nothing where nothing was put."""
    assert place.files.names() == []
    for name in ("b/2.json", "a", "b/1.json"):
        place.files.put(name, name.encode())
    assert place.files.names() == ["a", "b/1.json", "b/2.json"]
    assert place.files.names("b/") == ["b/1.json", "b/2.json"]
    assert place.files.names("c/") == []
    assert place.files.get("b/1.json", 100) == b"b/1.json"
    assert place.files.get("b/1.json", 3) == b"b/1"
    with pytest.raises(EdgeError):
        place.files.get("c", 10)


def test_what_is_put_once_stays(place):
    """Whoever comes later changes nothing, and is told where it is."""
    first = place.files.put("a", b"one", once=True)
    assert place.files.put("a", b"two", once=True) == first
    assert place.there() == {"a": b"one"}


def test_a_full_folder_takes_nothing_further_that_strangers_send(tmp_path):
    """What is put once is bounded in number; what the program itself puts is not."""
    files = FolderFiles(tmp_path, most=2)
    files.put("a", b"1", once=True)
    files.put("b", b"2", once=True)
    assert files.put("c", b"3", once=True) == "nowhere: the folder is full (2 files)"
    assert files.put("a", b"1", once=True) == str(tmp_path / "a")
    files.put("d", b"4")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "d"]


def test_what_cannot_be_written_is_an_error_that_says_whether_it_may_pass(tmp_path):
    """Where and what to do; no half of a file is left. A full disk may be mended, a file in the way will not go."""
    (tmp_path / "in").write_text("the way")
    with pytest.raises(EdgeError) as caught:
        FolderFiles(tmp_path / "in").put("a", b"1")
    assert not caught.value.retryable
    assert str(tmp_path / "in") in caught.value.where
    script = (
        "import resource, sys\n"
        "from detector.local.files import FolderFiles, EdgeError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        "try: FolderFiles(sys.argv[1]).put('a', b'1' * 20)\n"
        "except EdgeError as error: print(error.retryable)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "full")]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "True\n"
    assert list((tmp_path / "full").iterdir()) == []


def test_a_bucket_that_is_not_there_is_an_error(aws):
    """And no later try mends it."""
    aws.name("x")
    with pytest.raises(EdgeError) as caught:
        PrefixFiles(aws.name("nowhere"), "p").put("a", b"1")
    assert not caught.value.retryable
