"""The credentials seen lately, by fingerprint, and the name each identity is shown by. Pure.

Tallies hold fingerprints; this is where they become names again. Entries of which nothing was seen within the horizon
are let go; of the others memory holds what it has room for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np

from detector.core.access import I64, U64, text_hash, text_hashes
from detector.core.finding import shown
from detector.core.groupings import IDENTITY, SHOWN, group_print
from detector.core.part import Spilling
from detector.core.principal import Principal
from detector.core.sighting import Sightings, Texts
from detector.core.view import BatchView
from detector.core.window import by_value

HOUR = 3600
NAMED = ("session", "role")
"""Levels at which an identity is shown by another name than its key."""
OF_FEW = "session"
"""The one of these at which an identity has few credentials."""
_NOBODY = np.zeros(0, np.uint64)
_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(Principal).decode


class People:
    """Fingerprint → principal, and (level, key) → the smallest ARN it was seen under.

    Names are held as credentials that have them: hash of the key, hash of the name, hour, fingerprint. A level that has
    few credentials in a group is named by those of its groups, where these are kept. `slack`: hours for which it need
    not be noted that credentials were seen again.
    """

    def __init__(self, slack: int = 0) -> None:
        self.slack = slack
        self._people = Texts("people", slack, self._name)
        self._unnamed: list[tuple[U64, I64]] = []
        self._names = {level: Sightings(f"names/{level}") for level in NAMED}
        self._groups: dict[str, Sightings] = {}

    def keep_groups(self, level: str) -> None:
        """From now on note which credentials a group at a level has. To be called before any is met."""
        self._groups.setdefault(level, Sightings(f"groups/{level}"))
        if level == OF_FEW:
            self._names.pop(level, None)

    def meet(self, view: BatchView) -> None:
        """Take note of the credentials in a batch and of the hour they were seen last."""
        batch = view.batch
        last = np.full(len(batch.principals) + 1, -1, np.int64)  # the last is nobody's, whose code is -1
        for number, rows in by_value(batch.time // HOUR):
            last[batch.who[rows]] = number
        code = np.flatnonzero(last[:-1] >= 0)

        def texts(new: list[int]) -> list[bytes]:
            return [*map(_ENCODE, batch.principals.each(code[new].tolist()))]

        code = code[self._people.put(batch.prints[code], last[code], texts)]
        if len(code):
            prints, hour = batch.prints[code], last[code]
            self._unnamed.append((prints, hour))
            for level, of_groups in self._groups.items():
                of_groups.add(view.groups_of(code, level), prints, hour)

    def of_group(self, level: str, group: int) -> U64:
        """Fingerprints of the credentials of a group at a level that is kept, in order."""
        return np.unique(np.concatenate([_NOBODY, *(tie for _, tie, _ in self._groups[level].rows(group))]))

    def of(self, prints: Iterable[int]) -> list[Principal]:
        """The principals behind these fingerprints."""
        return list(self.found(prints).values())

    def found(self, prints: Iterable[int]) -> dict[int, Principal]:
        """Fingerprint → principal, of those that are known."""
        return {one: _DECODE(text) for one, text in self._people.of(np.fromiter(prints, np.uint64)).items()}

    def credentials(self, level: str, key: str) -> dict[int, Principal]:
        """The credentials of a group at a level (`session`, `role`), by fingerprint."""
        if level in self._names:
            rows, _ = self._of_level(level)
            prints = np.unique(np.concatenate([_NOBODY, *(run[-1] for run in rows.rows(text_hash(key)))]))
        else:
            prints = self.of_group(level, group_print((key,)))
        return {one: who for one, who in self.found(prints.tolist()).items() if IDENTITY[level](who) == key}

    def sessions(self) -> int:
        """Number of distinct sessions."""
        return len(self.session_prints())

    def session_prints(self) -> U64:
        """Fingerprints of the sessions met, each once: 8 bytes a session."""
        rows, _ = self._of_level("session")
        return np.concatenate([_NOBODY, *(np.unique(run[0]) for run in rows.merged())])

    def name(self, level: str, key: str) -> str:
        """What a person is shown of a group's key at a level."""
        if level not in NAMED:
            return key
        return shown([SHOWN[level](who) for who in self.credentials(level, key).values()] or [key])

    def names(self, level: str) -> dict[str, str]:
        """`name` of every key at a level; empty where keys are shown as they are."""
        if level not in NAMED:
            return {}
        names: dict[str, list[str]] = {}
        rows, prints = self._of_level(level)
        for run in rows.merged():
            for who in self.of(np.unique(run[prints]).tolist()):
                names.setdefault(IDENTITY[level](who), []).append(SHOWN[level](who))
        return {key: shown(of) for key, of in names.items()}

    def forget_before(self, second: int) -> None:
        """Let go of credentials not seen since."""
        self._people.forget_before(second // HOUR)
        for names in (*self._names.values(), *self._groups.values()):
            names.forget_before(second // HOUR - self.slack)

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._people, *self._names.values(), *self._groups.values()]

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        return {name: part for one in self.spilling() for name, part in one.changes().items()}

    def _of_level(self, level: str) -> tuple[Sightings, int]:
        """Rows of the credentials of a level's identities, by identity, and the column of these."""
        if level not in self._names:
            return self._groups[level], 1
        self._name()
        return self._names[level], 3

    def _name(self) -> None:
        """Note the names of those who have none yet: when one is asked for, and before their texts stop waiting."""
        unnamed, self._unnamed = self._unnamed, []
        for prints, hour in unnamed:
            met = self.of(prints.tolist())
            for level, names in self._names.items():
                keys, shown_as = map(IDENTITY[level], met), map(SHOWN[level], met)
                names.add(text_hashes([*keys]), text_hashes([*shown_as]), hour, prints)

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Take in the parts of a checkpoint."""
        for one in (self._people, *self._names.values(), *self._groups.values()):
            one.restore(parts)
