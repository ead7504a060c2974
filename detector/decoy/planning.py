"""Plans decoys: in which folders, under which names, how large. Pure: what lies there and who reads it in, a plan out.

A decoy tells of theft only if no honest reader takes it. Who asks for objects by names he knows does not; who takes
whatever a listing shows does. So a folder that somebody reads whole has no decoys, unless the operator wants them and
gives that reader an exception; and one without a pattern of names has none, because they would be found out.

Of k decoys, who reads a share f of a folder at random meets one with 1 - (1 - f)**k, however large the folder is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

from detector.core.finding import prefix_of
from detector.decoy.content import content
from detector.decoy.draw import HEX, Draw
from detector.decoy.naming import FEWEST, Pattern, names_like, pattern_of
from detector.decoy.registry import Decoy, Passed, Plan

WHOLE = 0.5
"""Share of a folder's objects which, read by one role, is a reading of the whole folder."""
SMALLEST = 64
"""Bytes of a decoy."""


class Neighbour(NamedTuple):
    """An object that is there. size: -1 where it is not known."""

    bucket: str
    key: str
    size: int = -1
    storage_class: str = "STANDARD"


@dataclass(frozen=True, slots=True)
class Wish:
    """How many, and where. largest: bytes of one decoy. even_so: also where somebody reads whole folders."""

    per_folder: int = 3
    most: int = 100
    largest: int = 1 << 20
    even_so: bool = False


@dataclass(slots=True)
class Folder:
    """Objects of a folder (bucket and prefix) and how many of them each role has read."""

    objects: list[Neighbour] = field(default_factory=list)
    readers: Mapping[str, int] = field(default_factory=dict)

    def sweepers(self) -> list[str]:
        """Roles that have read the folder whole, or nearly so."""
        need = max(FEWEST, WHOLE * len(self.objects))
        return sorted(role for role, count in self.readers.items() if count >= need)


def folders_of(
    there: Iterable[Neighbour], read: Mapping[tuple[str, str], Mapping[str, int]]
) -> dict[tuple[str, str], Folder]:
    """Objects by folder. read: (bucket, prefix) → role → how many objects of it the role has read.

    Names that cannot be printed are nobody's pattern.
    """
    found: dict[tuple[str, str], Folder] = defaultdict(Folder)
    for one in there:
        if one.key.isprintable() and not one.key.endswith("/"):
            found[one.bucket, prefix_of(one.key)].objects.append(one)
    for place, folder in found.items():
        folder.readers = read.get(place, {})
    return dict(found)


def plan(folders: Mapping[tuple[str, str], Folder], wish: Wish, seed: bytes, *, made_at: str) -> Plan:
    """Decoys for these folders; the fullest first. The same seed and folders give the same plan."""
    chosen: list[Decoy] = []
    passed: list[Passed] = []
    for (bucket, prefix), folder in sorted(folders.items(), key=lambda item: (-len(item[1].objects), item[0])):
        folder.objects.sort()
        pattern = pattern_of(one.key[len(prefix) :] for one in folder.objects)
        why = _against(folder, pattern, wish, room=wish.most - len(chosen))
        if why or pattern is None:
            passed.append(Passed(f"{bucket}/{prefix}", why))
            continue
        count = min(wish.per_folder, wish.most - len(chosen))
        made = _decoys(bucket, prefix, folder, pattern, count, wish, seed)
        chosen += made
        if not made:
            passed.append(Passed(f"{bucket}/{prefix}", "all names of the pattern are taken"))
    name = Draw(seed, "name", made_at, *(f"{one.bucket}/{one.key}" for one in chosen)).letters(HEX, 16)
    return Plan(name=name, made_at=made_at, decoys=tuple(chosen), passed_over=tuple(passed))


def chance(decoys: int, share: float) -> float:
    """With which probability somebody who reads this share of a folder at random meets one of its decoys."""
    return 1 - (1 - share) ** decoys


def _against(folder: Folder, pattern: Pattern | None, wish: Wish, *, room: int) -> str:
    """Why a folder should have no decoys; empty if it may."""
    if len(folder.objects) < FEWEST:
        return f"fewer than {FEWEST} objects"
    if pattern is None:
        return "the names have no pattern: a further one would stand out"
    sweepers = folder.sweepers()
    if sweepers and not wish.even_so:
        told = ", ".join(
            f"{role} ({folder.readers[role]:,} of {len(folder.objects):,} objects)" for role in sweepers[:3]
        )
        return f"read whole by {told}: it would take a decoy, too"
    return "" if room > 0 else "as many decoys as were wanted lie in fuller folders"


def _decoys(
    bucket: str, prefix: str, folder: Folder, pattern: Pattern, count: int, wish: Wish, seed: bytes
) -> list[Decoy]:
    taken = {one.key[len(prefix) :] for one in folder.objects}
    draw = Draw(seed, "decoys", bucket, prefix)
    names = names_like(pattern, count, taken, draw)
    return [
        _decoy(bucket, prefix + name, folder.objects, wish, Draw(seed, "decoy", bucket, prefix + name))
        for name in names
    ]


def _decoy(bucket: str, key: str, neighbours: Sequence[Neighbour], wish: Wish, draw: Draw) -> Decoy:
    """One decoy: in size, class and place like its neighbours."""
    kind = key.rpartition(".")[2]
    alike = [one for one in neighbours if one.key.rpartition(".")[2] == kind] or neighbours
    like = draw.one_of(alike)
    known = [one.size for one in alike if one.size >= 0] or [4096]
    size = like.size if like.size >= 0 else draw.one_of(known)
    near = max(SMALLEST, min(wish.largest, size * draw.between(90, 110) // 100 + draw.below(32)))
    noise = draw.letters(HEX, 32)
    return Decoy(
        bucket,
        key,
        near,
        sha256(content(key, near, noise)).hexdigest(),
        noise,
        why=f"one of {len(neighbours):,} objects in its folder; named like {like.key[len(prefix_of(key)) :]}",
        storage_class=like.storage_class,
    )
