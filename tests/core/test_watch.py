"""Kinds of rules and their watches belong together."""

from __future__ import annotations

from detector.core.rule import KINDS
from detector.watches import WATCHES


def test_every_kind_has_a_watch():
    assert set(WATCHES) == set(KINDS)
