"""Planting and removing: the registry is true at every step, and nothing real is touched."""

import msgspec
import pytest

from detector.decoy import planting
from detector.decoy.planning import Neighbour, Wish, folders_of, plan
from detector.decoy.registry import decode, read_all, standing
from detector.errors import EdgeError, InputError
from detector.local.files import FolderFiles
from detector.local.plot import FolderPlot

NOW = 1_777_626_000


@pytest.fixture
def ground(tmp_path):
    return FolderPlot(tmp_path / "buckets"), FolderFiles(tmp_path / "registry"), tmp_path / "buckets"


def a_plan(count=6):
    there = [Neighbour("ml-voice", f"raw/utt_{n:06d}.wav", 500) for n in range(0, 900, 3)]
    return plan(folders_of(there, {}), Wish(per_folder=count), b"0123456789abcdef", made_at="2026-05-01T09:00:00Z")


def registered(files):
    return standing(read_all(files))


def test_what_was_planted_lies_there_and_is_registered(ground):
    plot, files, root = ground
    made = a_plan()
    told = list(planting.plant(made, plot, files, NOW))
    assert [done.told for done in told] == ["planted"] * 6
    assert registered(files) == {(one.bucket, one.key) for one in made.decoys}
    assert all((root / one.bucket / one.key).stat().st_size == one.size for one in made.decoys)
    assert [done.told for done in planting.look(decode(files.get(f"{made.name}.json", 1 << 20), "x").decoys, plot)] == [
        "there"
    ] * 6


def test_planting_is_safe_to_repeat_and_goes_on_where_it_stopped(ground):
    plot, files, _ = ground
    made = a_plan()
    assert len(list(planting.plant(made, plot, files, NOW, most=2))) == 2
    assert len(registered(files)) == 2
    assert len(list(planting.plant(made, plot, files, NOW))) == 4
    assert list(planting.plant(made, plot, files, NOW)) == []
    assert len(registered(files)) == 6


def test_after_a_crash_what_lies_there_is_registered(ground):
    """The registry was lost after decoys were put: they are known by their bytes."""
    plot, files, root = ground
    made = a_plan()
    list(planting.plant(made, plot, files, NOW))
    (root.parent / "registry" / f"{made.name}.json").unlink()
    assert {done.told for done in planting.plant(made, plot, files, NOW)} == {"there already"}
    assert len(registered(files)) == 6


def test_an_edge_that_fails_half_way_leaves_a_true_registry(ground):
    """What was put before is registered; what was not is not."""
    _, files, root = ground
    made = a_plan()

    class Failing(FolderPlot):
        def put(self, bucket, key, data, storage_class):
            if key == made.decoys[3].key:
                raise EdgeError("no")
            return super().put(bucket, key, data, storage_class)

    with pytest.raises(EdgeError):
        list(planting.plant(made, Failing(root), files, NOW))
    assert registered(files) == {(one.bucket, one.key) for one in made.decoys[:3]}


def test_where_something_real_lies_there_is_no_decoy(ground):
    plot, files, root = ground
    made = a_plan()
    real = root / "ml-voice" / made.decoys[0].key
    real.parent.mkdir(parents=True)
    real.write_bytes(b"real")
    told = list(planting.plant(made, plot, files, NOW))
    assert told[0].told == "something else lies there"
    assert real.read_bytes() == b"real"
    assert (made.decoys[0].bucket, made.decoys[0].key) not in registered(files)


def test_only_what_is_still_ours_is_removed(ground):
    """A decoy that was replaced by a real object, or is gone, is no decoy any more; nothing else is deleted."""
    plot, files, root = ground
    made = a_plan()
    list(planting.plant(made, plot, files, NOW))
    (root / "ml-voice" / made.decoys[0].key).write_bytes(b"real")
    (root / "ml-voice" / made.decoys[1].key).unlink()
    told = [done.told for done in planting.remove(made, plot, files, NOW, lambda one: one != made.decoys[5])]
    assert told[:3] == ["left: something else lies there now", "gone already", "removed"]
    assert (root / "ml-voice" / made.decoys[0].key).read_bytes() == b"real"
    list(planting.remove(made, plot, files, NOW, lambda _: True))
    assert registered(files) == frozenset()
    assert [path.name for path in root.rglob("*.wav")] == [made.decoys[0].key.rpartition("/")[2]]


def test_a_plan_whose_bytes_are_others_is_not_planted(ground):
    """Somebody changed a size: then nobody could tell later whether it is ours."""
    plot, files, _ = ground
    made = a_plan()
    changed = msgspec.structs.replace(made, decoys=(msgspec.structs.replace(made.decoys[0], size=501),))
    [done] = planting.plant(changed, plot, files, NOW)
    assert done.told.startswith("not planted")
    assert registered(files) == frozenset()


def test_a_plan_of_a_name_that_leads_elsewhere_is_refused(ground):
    plot, files, _ = ground
    with pytest.raises(InputError, match="letters and digits"):
        list(planting.plant(msgspec.structs.replace(a_plan(), name="../x"), plot, files, NOW))
