"""Names of decoys: like their neighbours', new, decided by the seed and by nothing else."""

import re
from hashlib import blake2b
from uuid import UUID

import pytest

from detector.decoy.draw import Draw
from detector.decoy.naming import names_like, pattern_of

COUNTER = [f"utt_{n:06d}.wav" for n in range(1, 400, 3)]
HASHES = [f"{blake2b(bytes([n]), digest_size=8).hexdigest()}.npy" for n in range(60)]
UUIDS = [f"{UUID(bytes=blake2b(bytes([n]), digest_size=16).digest(), version=4)}.parquet" for n in range(50)]
SPEAKERS = [f"spk{s:02d}-de-{n:04d}.flac" for s in (3, 7, 12) for n in range(0, 90, 4)]
HALF_HOURS = [f"20260501T{h:02d}{m:02d}00.json" for h in range(9, 18) for m in (0, 30)]
SPARK = [f"part-{n:05d}-c0ffee12-0000-4000-8000-00000000000{n % 10}.snappy.parquet" for n in range(40)]
OF_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
FOLDERS = {
    "counter": (COUNTER, r"utt_\d{6}\.wav"),
    "dense counter": ([f"{n:05d}.jpg" for n in range(300)], r"\d{5}\.jpg"),
    "days": ([f"sales-202604{d:02d}.csv" for d in range(1, 29, 2)], r"sales-202604\d\d\.csv"),
    "day and time": (HALF_HOURS, r"20260501T\d{6}\.json"),
    "speaker": (SPEAKERS, r"spk(03|07|12)-de-\d{4}\.flac"),
    "hash": (HASHES, r"[0-9a-f]{16}\.npy"),
    "uuid": (UUIDS, OF_UUID + r"\.parquet"),
    "spark": (SPARK, r"part-\d{5}-" + OF_UUID + r"\.snappy\.parquet"),
}


def made(names, count=5, seed=b"seed"):
    pattern = pattern_of(names)
    assert pattern is not None
    return names_like(pattern, count, set(names), Draw(seed, "test"))


@pytest.mark.parametrize("kind", FOLDERS)
def test_a_new_name_is_like_its_neighbours_and_is_none_of_them(kind):
    names, expected = FOLDERS[kind]
    new = made(names)
    assert len(set(new)) == 5
    assert not set(new) & set(names)
    for name in new:
        assert re.fullmatch(expected, name)


def test_the_seed_decides_and_another_seed_gives_other_names():
    """The plan can be made again; without the seed it cannot."""
    names = FOLDERS["hash"][0]
    assert made(names) == made(names)
    assert not set(made(names)) & set(made(names, seed=b"other"))


def test_a_counter_takes_gaps_and_without_gaps_lies_far_behind_the_last():
    """Whoever goes on counting must not soon come upon a decoy."""
    numbers = [int(name[4:10]) for name in made(COUNTER)]
    assert all(1 < number < 400 and number % 3 != 1 for number in numbers)
    dense = [int(name[:5]) for name in made(FOLDERS["dense counter"][0])]
    assert all(number >= 299 + 300 for number in dense)


def test_what_belongs_together_stays_together():
    """A number that follows from a word is not mixed with another word's."""
    names = [
        f"{lang}{code}_{n:05d}.txt" for lang, code in (("de", 49), ("fr", 33), ("it", 39)) for n in range(0, 99, 5)
    ]
    assert {name[:4] for name in made(names, count=20)} <= {"de49", "fr33", "it39"}


def test_one_lies_early_in_the_listing():
    """Whoever takes a folder in the order of its listing meets a decoy among its first objects."""
    names = sorted(FOLDERS["hash"][0])
    [first, *_] = made(names, count=3)
    assert sum(name < first for name in names) <= len(names) * 0.05 + 1


def test_times_of_day_are_times_and_days_are_days():
    for name in made(FOLDERS["day and time"][0], count=6):
        clock = name[9:15]
        assert clock[:2] < "24"
        assert clock[2:4] < "60"
        assert clock[4:] < "60"
    for name in made(FOLDERS["days"][0], count=10):
        assert 1 <= int(name[12:14]) <= 28


@pytest.mark.parametrize("names", [[], ["README.md", "LICENSE", "Makefile", "setup.cfg"], ["a.wav", "b.wav"]])
def test_a_folder_without_a_pattern_has_none(names):
    assert pattern_of(names) is None


def test_hostile_names_cost_no_more_than_others():
    """A key may be any text."""
    names = [("\ud800é" + "9" * 900 + f"-{n:04d}") for n in range(0, 3000, 7)]
    assert all(name not in names for name in made(names))
