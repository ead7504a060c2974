"""Plans of decoys: where they tell of theft, where they would only tell of honest readers, and what is in them."""

import json
import wave
from hashlib import sha256
from io import BytesIO

import pytest

from detector.decoy.content import MAGIC, TEXTS, content
from detector.decoy.planning import Neighbour, Wish, chance, folders_of, plan
from detector.decoy.registry import Plan, decode, encode, standing
from detector.errors import InputError

AT = "2026-05-01T09:00:00Z"


def objects(folder, count, size=50_000, ending="wav"):
    return [
        Neighbour("ml-voice", f"{folder}utt_{n:06d}.{ending}", size + n, "STANDARD_IA") for n in range(0, 3 * count, 3)
    ]


def planned(there, read=None, wish=None, seed=b"0123456789abcdef"):
    return plan(folders_of(there, read or {}), wish or Wish(), seed, made_at=AT)


def test_a_decoy_is_like_its_neighbours_in_name_size_and_class():
    """Nothing but the registry tells them apart; no name is taken."""
    there = objects("raw/de/", 100)
    made = planned(there)
    assert len(made.decoys) == 3
    for one in made.decoys:
        assert one.key.startswith("raw/de/utt_")
        assert one.key.endswith(".wav")
        assert 45_000 <= one.size <= 56_000
        assert one.storage_class == "STANDARD_IA"
        assert sha256(content(one.key, one.size, one.noise)).hexdigest() == one.sha256
    assert not {one.key for one in made.decoys} & {one.key for one in there}


def test_the_same_seed_gives_the_same_plan_in_any_order():
    there = objects("raw/de/", 100) + objects("raw/fr/", 40)
    assert planned(there) == planned(list(reversed(there)))
    other = planned(there, seed=b"another secret 0")
    assert {one.key for one in other.decoys} != {one.key for one in planned(there).decoys}


def test_a_folder_that_somebody_reads_whole_has_none_and_the_plan_says_who():
    """A training run that takes what the listing shows would page every night."""
    there = objects("raw/de/", 100) + objects("raw/fr/", 100)
    read = {("ml-voice", "raw/de/"): {"role/trainer": 97, "role/analyst": 12}}
    made = planned(there, read)
    assert {one.key[:7] for one in made.decoys} == {"raw/fr/"}
    [passed] = made.passed_over
    assert passed.folder == "ml-voice/raw/de/"
    assert "role/trainer (97 of 100 objects)" in passed.why
    assert "analyst" not in passed.why
    assert len(planned(there, read, Wish(even_so=True)).decoys) == 6


def test_what_has_no_pattern_or_too_little_has_none():
    there = [Neighbour("b", key) for key in ("README", "a/LICENSE", "a/Makefile", "a/setup.cfg", "a/x/", "a/y.txt")]
    made = planned(there)
    assert not made.decoys
    assert {one.folder for one in made.passed_over} == {"b/", "b/a/"}


def test_the_fullest_folders_come_first_and_no_more_than_was_wanted():
    there = objects("small/", 10) + objects("large/", 300)
    made = planned(there, wish=Wish(per_folder=4, most=4))
    assert {one.key[:6] for one in made.decoys} == {"large/"}
    assert "fuller folders" in made.passed_over[0].why
    assert all(one.size <= 1000 for one in planned(there, wish=Wish(largest=1000)).decoys)


def test_the_chance_of_a_catch_depends_on_the_share_read_and_not_on_the_size():
    assert chance(3, 0.5) == pytest.approx(0.875)
    assert chance(30, 0.1) == pytest.approx(0.958, abs=0.001)


@pytest.mark.parametrize("ending", [*TEXTS, *MAGIC, "json", "wav", "", "unheard-of"])
@pytest.mark.parametrize("size", [0, 1, 43, 44, 64, 999, 5000])
def test_content_has_its_size_and_is_decided_by_its_noise(ending, size):
    made = content(f"a/b.{ending}", size, "cafe")
    assert len(made) == size
    assert made == content(f"a/b.{ending}", size, "cafe")
    if size >= 999:
        assert made != content(f"a/b.{ending}", size, "beef")


def test_texts_and_sound_are_whole_and_other_formats_begin_right():
    """What opens a file by its ending finds no fault at first."""
    for line in content("a.jsonl", 3000, "cafe").decode().splitlines():
        assert set(json.loads(line)) == {"id", "n", "value", "ref"}
    assert len(json.loads(content("a.json", 3000, "cafe"))) > 20
    with wave.open(BytesIO(content("a.wav", 3000, "cafe"))) as sound:
        assert (sound.getnchannels(), sound.getsampwidth(), sound.getframerate(), sound.getnframes()) == (
            1,
            2,
            16_000,
            1478,
        )
    assert content("A.PNG", 100, "cafe").startswith(b"\x89PNG\r\n")


def test_a_plan_is_a_text_that_a_person_can_read_and_cut():
    made = planned(objects("raw/de/", 100))
    text = encode(made)
    assert text.count(b"\n") > 20
    assert decode(text, "x") == made
    cut = json.loads(text)
    cut["decoys"] = cut["decoys"][:1]
    assert decode(json.dumps(cut).encode(), "x").decoys == made.decoys[:1]


@pytest.mark.parametrize(
    "text",
    [b"", b"{}", b"[]", b"\xff", b'{"schema": "bucketwatch.decoys.v2", "name": "a", "made_at": "", "decoys": []}',
     b'{"schema": "bucketwatch.decoys.v1", "name": "a", "made_at": "", "decoys": [{"bucket": "b"}]}',
     (b'{"schema": "bucketwatch.decoys.v1", "name": "a", "made_at": "", "decoys": '
      b'[{"bucket": "b", "key": "", "size": 1, "sha256": "", "noise": ""}]}')],
)  # fmt: skip
def test_what_is_no_plan_is_refused_with_a_remedy(text):
    with pytest.raises(InputError) as caught:
        decode(text, "plan.json")
    assert caught.value.remedy


def test_only_what_was_planted_counts():
    """Under a name that is only planned a real object may come to lie."""
    made = planned(objects("raw/de/", 100))
    assert standing({"a.json": encode(made)}) == frozenset()
    assert isinstance(made, Plan)
