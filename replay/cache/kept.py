"""Parsed access records kept as Parquet, so that the second question about an archive is answered at Arrow speed.

    with kept(paths, folder, options) as records: records.dataset().to_table(columns=…, filter=…)

Rules of this file
- A cache is kept for one question about what there is: the paths, the period, the preferred logs, the limits. Each has
  a folder of its own below the user's, named by a hash of it.
- `manifest.json` says which parts there are (`parts`). It is replaced as a whole after every part, so that who is
  interrupted goes on after the last one, and whatever else lies there counts for nothing.
- It is for the very files there are: if one was changed or is gone, or the manifest is of another version, or anything
  is damaged, all is made anew, and that is said. New files are read and added.
- `.whole` is what all settled parts add up to (`whole`). It is made of them where it is not there, or damaged.
- One process makes a cache, any number read it: a lock on the folder's `lock` sees to it.
"""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import xxhash

from detector.core.access import COLUMNS, U64, AccessBatch, Log, Reject
from detector.core.books import Books
from detector.core.builder import BatchBuilder
from detector.core.dated import Period
from detector.errors import EdgeError
from detector.logs.limits import Limits
from detector.logs.read import PARQUET
from replay.cache import partfiles
from replay.cache.indexed import Indexed
from replay.cache.parts import Gathered, Input, Part, Written
from replay.cache.settle import Known, settle
from replay.cache.summed import Summed, decoded
from replay.columns import in_threads
from replay.files import Files, LogPath, find
from replay.reader import FileRead, Reads, batches, followed, records
from replay.remote import SCHEME
from replay.scratch import Scratch

if TYPE_CHECKING:
    from pyarrow import dataset

    from detector.core.sought import Sought
    from replay.options import Options

VERSION = 4
MANIFEST, LOCK = "manifest.json", "lock"
Tell = Callable[[str], None]


class _Version(msgspec.Struct):
    version: int


class Manifest(_Version):
    """What a folder holds, and for which question. settled: all its records count. names: of files, given so far.

    whole: what the settled parts add up to. It is made of them when it is not there, or damaged.
    """

    question: dict[str, Any]
    settled: bool = False
    names: int = 0
    parts: list[Part] = []
    whole: Written | None = None

    @property
    def files(self) -> list[Written]:
        """All files that it names."""
        return [*(written for part in self.parts for written in part.files), *([self.whole] if self.whole else [])]


@dataclass(frozen=True, slots=True)
class Kept:
    """The distinct access records of some logs, as Parquet files in `folder`.

    reads: what came of the log files. books: as a replay that looks at all columns keeps them.
    left: books of the records that are neither here nor aside. logs: kinds of log that were read. sums: file of what
    all parts add up to.
    """

    folder: Path
    parts: tuple[Part, ...]
    sums: Path
    reads: Reads
    books: Books
    left: Books
    logs: frozenset[Log]

    @property
    def files(self) -> list[Path]:
        """The Parquet files: one row an access record, sorted within each by role, session and time."""
        return [self.folder / part.records.name for part in self.parts]

    def dataset(self) -> dataset.Dataset:
        """All records, to be asked with filters and columns."""
        from pyarrow import dataset

        return dataset.dataset([str(file) for file in self.files], format="parquet")

    @property
    def indexed(self) -> list[Indexed]:
        """The same files, with who is in which of their row groups."""
        return [Indexed(self.folder / part.records.name, self.folder / part.who.name) for part in self.parts]

    def summed(self) -> Iterator[Summed]:
        """What the records of each part add up to."""
        return in_threads(self.parts, partial(partfiles.read_summed, self.folder))

    def whole(self) -> Summed:
        """What the records of all parts add up to (`replay.cache.whole`)."""
        return decoded(self.sums)

    def pieces(self) -> Files:
        """What a replay reads, with `pieces`: row groups, some together, and what lies aside."""
        return Files(piece for part in self.parts for piece in self._pieces(part))

    def told(self) -> Iterator[tuple[list[FileRead], list[Reject]]]:
        """What came of the log files, in the order in which they were read, and the records that could not be."""
        for part in self.parts:
            inputs, rejects, _ = partfiles.read_inputs(self.folder, part.inputs)
            yield [one.read for one in inputs], rejects

    def _pieces(self, part: Part) -> Iterator[LogPath]:
        for number, piece in enumerate(part.pieces):
            yield LogPath(self.folder / f"{part.records.name}#{number}", piece.size)
        if part.aside:
            yield LogPath(self.folder / part.aside.name, part.aside.size)


@contextmanager
def kept(paths: Sequence[str], folder: Path | None, options: Options, tell: Tell = lambda _: None) -> Iterator[Kept]:
    """The access records of the logs under these paths, from the cache in this folder as far as they are there.

    folder: None: in a temporary one. tell: is given what a person should know. Within the context nobody makes the
    cache anew. Raises InputError for what the user should mend, EdgeError if the folder cannot be written.
    """
    files = find(paths, Period.of(options.admission))
    question = _question(paths, options)
    name = xxhash.xxh64_hexdigest(msgspec.json.encode(question))
    with ExitStack() as stack:
        with _written_to(folder or options.tmp):
            above = folder or _temporary(stack, options.tmp)
            home = above / name
            home.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((home / LOCK).open("w"))
            fcntl.flock(lock, fcntl.LOCK_EX)
            made = _Making(home, question, options, tell).bring_up_to_date(files)
            fcntl.flock(lock, fcntl.LOCK_SH)
        yield made


def _temporary(stack: ExitStack, above: Path | None) -> Path:
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bucketwatch-", dir=above)))


def pieces(
    files: list[LogPath], columns: frozenset[str], limits: Limits, sought: Sought | None = None
) -> tuple[AccessBatch, list[FileRead]]:
    """As `replay.reader.records`, of what `Kept.pieces` names."""
    del limits  # they were for the log files
    into = BatchBuilder(columns, sought)
    outcomes = []
    for file in files:
        into.begin()
        path = Path(file.path)
        name, _, number = path.name.partition("#")
        if number:
            partfiles.add_piece(path.with_name(name), int(number), into)
        else:
            partfiles.add_aside(path, into)
        outcomes.append(FileRead(file, PARQUET, first=into.first, last=into.last))
    return into.build(), outcomes


class _Making:
    """Brings the cache of one question up to date. home: its folder."""

    def __init__(self, home: Path, question: dict[str, Any], options: Options, tell: Tell) -> None:
        self._home, self._options, self._tell = home, options, tell
        self._manifest = Manifest(VERSION, question)

    def bring_up_to_date(self, files: Files) -> Kept:
        """What is there, with the log files read that were not. Raises OSError."""
        prints = files.prints()
        there = self._there(prints)
        wanted = np.flatnonzero(~np.isin(prints, there))
        missing = files.only(wanted)
        if len(there) and len(missing):
            self._tell(f"{len(there):,} of {len(files):,} log files are in the cache; the others are read now")
        if len(missing) or not self._manifest.settled:
            with Scratch(self._options.tmp) as scratch:
                self._make(missing, prints[wanted], scratch)
        if self._manifest.whole is None or partfiles.damaged(self._home, self._manifest.whole):
            self._manifest.whole = partfiles.write_whole(self._home, self._next_name(), self._manifest.parts)
            self._save()
        self._tidy()
        return _opened(self._home, self._manifest.parts, self._manifest.whole)

    def _there(self, prints: U64) -> U64:
        """Prints of the log files whose records are here: none, if what is here is not only of the files there are."""
        manifest, why = _manifest(self._home)
        if manifest is not None and (damaged := self._damaged(manifest)):
            why = f"{damaged} is damaged"
        elif manifest is not None:
            there = _prints(self._home, manifest.parts)
            gone = int((~np.isin(there, prints)).sum())
            if not gone:
                self._manifest = manifest
                return there
            why = f"{gone:,} log files that it was made of were changed, or are gone"
        if why:
            self._tell(f"the cache in {self._home} is made anew: {why}")
            self._tidy()
        return np.zeros(0, np.uint64)

    def _damaged(self, manifest: Manifest) -> str:
        every = (written for part in manifest.parts for written in part.files)
        return next((written.name for written in every if partfiles.damaged(self._home, written)), "")

    def _make(self, files: Files, prints: U64, scratch: Scratch) -> None:
        """Read these log files into new parts, then see what counts. prints: from before they are read."""
        known = Known(self._options.memory, scratch)
        for part in self._manifest.parts:
            known.learn(*partfiles.read_ids(self._home, part))
        for part in self._manifest.parts:
            known.learn_records(partfiles.read_aside(self._home, part))
        self._manifest.settled, self._manifest.whole = False, None
        self._read(files, prints.tolist(), known)
        if known.contests:
            name = self._next_name()
            self._manifest.parts = [*settle(self._home, self._manifest.parts, known, name)]
        self._manifest.settled = True
        self._save()

    def _read(self, files: Files, prints: list[int], known: Known) -> None:
        options, gathered, done = self._options, Gathered(), 0
        read = batches(files, partial(records, columns=COLUMNS, limits=options.limits), options.jobs)
        for raw, outcomes in followed(read, files, options.progress, "reading"):
            batch = options.admission.apply(raw)
            gathered.add(batch, *known.judge(batch))
            gathered.coverage.add(raw)
            gathered.inputs += map(Input, outcomes, prints[done:])
            done += len(outcomes)
            if gathered.full:
                self._write(gathered)
                gathered = Gathered()
        if gathered.inputs:
            self._write(gathered)

    def _write(self, gathered: Gathered) -> None:
        number, name = len(self._manifest.parts), self._next_name()
        inputs = partfiles.write_inputs(self._home, name, gathered)
        part = partfiles.write(self._home, (number, name), gathered.content(), inputs, sorted(gathered.logs))
        self._manifest.parts.append(part)
        self._save()

    def _next_name(self) -> str:
        self._manifest.names += 1
        return f"{self._manifest.names:06}"

    def _save(self) -> None:
        partfiles.put(self._home, MANIFEST, msgspec.json.format(msgspec.json.encode(self._manifest)))

    def _tidy(self) -> None:
        """Delete files that the manifest does not name: of an earlier cache, or of one that was interrupted.

        Folders are somebody else's, and stay.
        """
        named = {written.name for written in self._manifest.files} | {MANIFEST, LOCK}
        for path in self._home.iterdir():
            if path.name not in named and not path.is_dir():
                path.unlink()


def _question(paths: Sequence[str], options: Options) -> dict[str, Any]:
    """What the records depend on beside the log files."""
    admission = options.admission
    return {
        "paths": [[text, text if text.startswith(SCHEME) else str(Path(text).absolute())] for text in paths],
        "since": admission.since,
        "until": admission.until,
        "prefer": [[pattern.pattern, log.name] for pattern, log in admission.prefer],
        "limits": asdict(options.limits),
    }


def _manifest(home: Path) -> tuple[Manifest | None, str]:
    """The manifest, if there is one that can be used; else why not."""
    try:
        content = (home / MANIFEST).read_bytes()
    except FileNotFoundError:
        return None, ""
    try:
        version = msgspec.json.decode(content, type=_Version).version
        if version != VERSION:
            return None, f"it is of version {version}, this program writes version {VERSION}"
        return msgspec.json.decode(content, type=Manifest), ""
    except msgspec.MsgspecError:
        return None, f"{MANIFEST} is damaged"


def _opened(home: Path, parts: Sequence[Part], whole: Written) -> Kept:
    reads, books, left, logs = Reads(), Books(), Books(), set[Log]()
    for part in parts:
        partfiles.add_reads(home, part.inputs, reads)
        left.add(Books.of(part.left))
        books.add(Books.of(part.judged))
        logs.update(map(Log, part.logs))
    books.add(left)
    reads.ignored.sort(key=_path)
    reads.damaged.sort(key=_path)
    return Kept(home, tuple(parts), home / whole.name, reads, books, left, frozenset(logs))


def _path(read: FileRead) -> str:
    return str(read.file.path)


def _prints(home: Path, parts: Sequence[Part]) -> U64:
    """Prints of the log files of these parts."""
    return np.array([one for part in parts for one in partfiles.read_prints(home, part.inputs)], np.uint64)


@contextmanager
def _written_to(folder: Path | None) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        where = str(folder or tempfile.gettempdir())
        remedy = "name a folder with more room, or one that may be written, with --cache"
        raise EdgeError(f"cannot keep records: {error.strerror or error}", where=where, remedy=remedy) from error
