"""The laws of Tree, over both twins: a folder's files and folders in the order of their names, each once."""

import pytest

from detector.aws.tree import S3Tree
from detector.local.tree import FolderTree

NAMES = ["a-b", "a.gz", "a/1", "a/2/x", "ä", "b/y", "b0"]


class Folder:
    def __init__(self, root) -> None:
        self.root, self.tree = root, FolderTree(root)

    def put(self, name, data):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


class Bucket:
    def __init__(self, aws) -> None:
        self.s3, self.bucket = aws.client("s3"), aws.bucket()
        self.tree = S3Tree(self.bucket)

    def put(self, name, data):
        self.s3.put_object(Bucket=self.bucket, Key=name, Body=data)


@pytest.fixture(params=["folder", "bucket"])
def place(request, tmp_path):
    made = Folder(tmp_path) if request.param == "folder" else Bucket(request.getfixturevalue("aws"))
    for name in NAMES:
        made.put(name, name.encode())
    return made


def test_a_level_is_what_lies_in_a_folder_by_name(place):
    """A folder's name ends with a slash, and that is where it stands in the order: as its files' whole names do."""
    assert [leaf.name for leaf in place.tree.level("")] == ["a-b", "a.gz", "a/", "b/", "b0", "ä"]
    assert [(leaf.name, leaf.size) for leaf in place.tree.level("a/")] == [("a/1", 3), ("a/2/", 0)]
    assert list(place.tree.level("c/")) == [] if isinstance(place, Bucket) else True


def test_a_level_goes_on_after_a_name(place):
    assert [leaf.name for leaf in place.tree.level("", "a.gz")] == ["a/", "b/", "b0", "ä"]
    assert [leaf.name for leaf in place.tree.level("a/", "a/1")] == ["a/2/"]


def test_what_was_begun_is_the_same(place):
    whole = list(place.tree.level("a/"))
    for _ in range(20):
        place.tree.begin("a/")
    assert list(place.tree.level("a/")) == whole
    assert list(place.tree.level("a/")) == whole
