"""Every input of the corpus has all properties of soak/properties.py; every open fault still is as it is described."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from soak.fuzz import failure, targets

HERE = Path(__file__).parent
INPUTS = sorted(path for path in (HERE / "corpus").glob("*/*"))
FAULTS = tomllib.loads((HERE / "open.toml").read_text()).get("fault", [])


@pytest.mark.parametrize("path", INPUTS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_an_input_has_all_properties(path):
    """What the fuzzer once found interesting: read, counted, bounded, and no neighbour is the worse for it."""
    targets()[path.parent.name](path.read_bytes(), True)


def test_open_faults_are_open():
    """Once one is mended, its input belongs into the corpus, and its entry in open.toml goes."""
    for fault in FAULTS:
        assert failure(targets()[fault["target"]], (HERE / "open" / fault["input"]).read_bytes()) == fault["how"]


def test_the_corpus_is_small_and_every_open_input_is_explained():
    """Replayed in seconds; nothing lies about that nobody looks at."""
    assert sum(path.stat().st_size for path in INPUTS) < 200_000
    assert {path.parent.name for path in INPUTS} == set(targets())
    assert {path.name for path in HERE.glob("open/*")} == {fault["input"] for fault in FAULTS}
