"""`replay --verify-digests`: whether the log files are what CloudTrail delivered, by the digests it signed.

    digest files → chains, signatures → what they list → the log files' SHA-256 → changed, missing, unlisted

Rules of this file
- Files are known by their own names, which CloudTrail never gives twice: an archive may lie anywhere. No path is made
  of what a digest says.
- A log file is as good as the digest that lists it: `verified` if that is, `unproven` if its signature is not known.
- What was delivered in the time that digests cover, and is in none of them, CloudTrail did not deliver: `unlisted`.
- Of what digests list, about 150 bytes a file are kept.
"""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from detector.core.access import U64
from detector.core.coverage import DELIVERED
from detector.core.times import epoch, iso
from detector.errors import InputError, UnreadablePathError
from detector.logs import digest as digests
from detector.logs.digest import DIGEST, INVALID, KEY_UNKNOWN, UNSIGNED, VERIFIED, DigestFile, Gap, Keys, Problem
from detector.logs.inflate import inflate
from detector.logs.limits import LIMITS, Limits
from replay.beside import in_order
from replay.files import Files, LogPath, find
from replay.reader import Progress, chunks_of, contents
from replay.remote import SCHEME, AnyPath, S3Path

LISTED = 1000
"""Problems and gaps that are told one by one; more are counted."""
LARGEST = 64 << 20
"""Bytes of a digest file, inflated: it has about 400 for each log file of an hour."""
LARGEST_KEY = 1 << 20
BORDER = 900
"""Seconds by which the name of a log file may differ from the time of its delivery."""
HEAD = ".head.json"
"""Ending of a file beside a digest: its object's metadata, as `aws s3api head-object` prints it."""
_HEX = re.compile(r"[0-9a-f]{2,8192}")

Json = dict[str, Any]
MakeKeys = Callable[[Sequence[DigestFile]], Keys]


class _Read(NamedTuple):
    """A log file's own name, the SHA-256 of its content, and why that is not known."""

    name: str
    stem: str
    sha: bytes
    problem: str


class _Listing:
    """What all digests list, by 64 bits of the files' own names. digest: which of them lists it."""

    def __init__(self, files: Sequence[DigestFile]) -> None:
        names = np.fromiter((_print(stem) for file in files for stem in file.listed), np.uint64)
        shas = np.frombuffer(b"".join(file.shas for file in files), "V32")
        counts = [len(file.shas) // 32 for file in files]
        order = np.argsort(names, kind="stable")
        self.names: U64 = names[order]
        self.shas = shas[order]
        self.digest = np.repeat(np.arange(len(files)), counts)[order]
        self.found = np.zeros(len(order), np.bool_)

    def of(self, stem: str) -> slice:
        """The places of this name."""
        name = np.uint64(_print(stem))
        return slice(int(np.searchsorted(self.names, name)), int(np.searchsorted(self.names, name, "right")))


class _Tally:
    """What came of the check so far."""

    def __init__(self) -> None:
        self.logs: Counter[str] = Counter()
        self.problems: list[Problem] = []
        self.problems_count = 0

    def tell(self, problems: Iterable[Problem]) -> None:
        for problem in problems:
            self.problems_count += 1
            if len(self.problems) < LISTED:
                self.problems.append(problem)


def verify(
    paths: Sequence[str],
    keys: MakeKeys,
    *,
    jobs: int = 1,
    limits: Limits = LIMITS,
    progress: Progress = lambda *_: None,
) -> Json:
    """`digests` of summary.json. keys: given the digests, the keys to judge them by. Raises InputError, EdgeError."""
    files = find(paths)
    of_digests, of_logs = _sorted(files)
    if not len(of_digests):
        raise InputError(
            "no CloudTrail digest files here",
            where=", ".join(paths),
            remedy="name the folder above CloudTrail and CloudTrail-Digest too, or leave --verify-digests out",
        )
    tally = _Tally()
    read = list(_digests(of_digests, tally))
    problems, gaps = digests.judge(read, keys(read) if read else Keys())
    tally.tell(problems)
    listing = _Listing(read)
    covered = _Covered(read, gaps)
    done = 0
    for some in in_order(partial(_hashed, limits=limits), chunks_of(of_logs, jobs), jobs):
        for log in some:
            outcome, problem = _judged(log, listing, read, covered)
            tally.logs[outcome] += 1
            tally.tell(problem)
        done += len(some)
        progress(done, len(of_logs), 0, 0, "verifying")
    _missing(listing, read, tally)
    return _summary(read, gaps, tally, unreadable=len(of_digests) - len(read))


def lines(told: Json) -> list[str]:
    """For a terminal; texts are not escaped."""
    logs, counts = told["log_files"], told["digests"]
    out = [
        f"digests: {_counts(counts)}; log files: {_counts(logs)}",
        *(f"  {one['what']} {one['file']}: {one['detail']}" for one in told["problems"][:20]),
    ]
    if told["problems_count"] > 20:
        out.append(f"  … and {told['problems_count'] - 20:,} more in summary.json")
    out += [f"  gap {g['account']}/{g['region']} {g['from']} to {g['until']}: {g['why']}" for g in told["gaps"][:20]]
    if logs["uncovered"]:
        out.append(f"  {logs['uncovered']:,} log files in no digest's time: nothing says that they are CloudTrail's")
    if counts[UNSIGNED]:
        out.append(
            f"  {counts[UNSIGNED]} digests without a known signature: it is in their objects' metadata, which a copy "
            f"loses; aws s3api head-object … > DIGEST{HEAD} gets it back"
        )
    return out


def keys_of(place: Path) -> Keys:
    """The keys in a file, or in all files of a folder. Raises InputError."""
    keys = Keys()
    try:
        files = sorted(p for p in place.iterdir() if p.is_file()) if place.is_dir() else [place]
        for file in files:
            with file.open("rb") as opened:
                keys.add(opened.read(LARGEST_KEY), str(file))
    except OSError as error:
        raise UnreadablePathError(
            f"cannot be read: {error.strerror}", where=str(error.filename or place), remedy="check --digest-keys"
        ) from error
    if not keys.named and not keys.unnamed:
        raise InputError("no public keys here", where=str(place), remedy="put keys there, as PEM, DER or JSON")
    return keys


def keys_from_aws(files: Sequence[DigestFile]) -> Keys:
    """CloudTrail's own keys, asked of each region. Raises EdgeError."""
    from detector.aws.digest_keys import public_keys

    since: dict[str, int] = defaultdict(lambda: 1 << 33)
    for file in files:
        since[file.chain.region] = min(since[file.chain.region], file.digest.start)
    keys = Keys()
    for region, start in sorted(since.items()):
        for fingerprint, value in public_keys(region, max(0, start - 3600)):
            keys.put(fingerprint, value)
    return keys


def _sorted(files: Files) -> tuple[Files, Files]:
    """The digests and the log files among these, by their names."""
    of_digests, of_logs = Files(), Files()
    for file in files:
        name = file.path.name
        if DIGEST.search(name):
            of_digests.append(file)
        elif _delivered(name):
            of_logs.append(file)
    return of_digests, of_logs


def _digests(files: Files, tally: _Tally) -> Iterable[DigestFile]:
    for file, data in (one for chunk in chunks_of(files) for one in contents(chunk)):
        try:
            yield _digest(file, data, tally)
        except ValueError as error:
            tally.tell([Problem(f"digest_{INVALID}", file.name, str(error))])


def _digest(file: LogPath, data: bytes | str, tally: _Tally) -> DigestFile:
    """A digest file. Raises ValueError with what is wrong with it."""
    if isinstance(data, str):
        raise UnreadablePathError(data, where=file.name)
    content, problem = inflate(data, LARGEST)
    if problem:
        raise ValueError(problem)
    found = digests.read(content, file.name, _signature(file.path))
    if found.signature is None and str(file.path) == f"{SCHEME}{found.digest.place}":
        lost = "where CloudTrail put it, but its object has no signature: somebody put it there anew"
        tally.tell([Problem("digest_unsigned", file.name, lost)])
    return found


class _Head(msgspec.Struct):
    Metadata: dict[str, str]


def _signature(path: AnyPath) -> str | None:
    """Out of the digest's metadata in S3, or of those that lie beside it, if they do."""
    if isinstance(path, S3Path):
        return path.metadata().get("signature")
    beside = path.with_name(path.name + HEAD)
    if not beside.exists():
        return None
    try:
        with beside.open("rb") as opened:
            metadata = msgspec.json.decode(opened.read(LARGEST_KEY), type=_Head).Metadata
    except msgspec.DecodeError as error:
        raise ValueError(f"{beside.name} is not what aws s3api head-object prints: {error}") from error
    signature = metadata.get("signature", "")
    if not _HEX.fullmatch(signature):
        raise ValueError(f"{beside.name} has no signature")
    return signature


def _hashed(files: list[LogPath], limits: Limits) -> list[_Read]:
    return [_read(file, data, limits) for file, data in contents(files)]


def _read(file: LogPath, data: bytes | str, limits: Limits) -> _Read:
    content, problem = (b"", data) if isinstance(data, str) else inflate(data, limits.inflated)
    return _Read(file.name, digests.stem(file.path.name), hashlib.sha256(content).digest(), problem)


class _Covered:
    """When digests tell what was delivered, by account and region: spans of chains and the gaps in them."""

    def __init__(self, files: Sequence[DigestFile], gaps: Sequence[Gap]) -> None:
        self._spans: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
        cuts: dict[Any, list[Gap]] = defaultdict(list)
        for gap in gaps:
            cuts[gap.chain].append(gap)
        chains: dict[Any, list[DigestFile]] = defaultdict(list)
        for file in files:
            if file.status == VERIFIED and not file.chain.backfill:
                chains[file.chain].append(file)
        for chain, members in chains.items():
            begin = min(file.digest.start for file in members)
            for gap in sorted(cuts[chain], key=lambda gap: gap.start):
                self._spans[chain[:2]].append((begin, gap.start))
                begin = max(begin, gap.end)
            self._spans[chain[:2]].append((begin, max(file.digest.end for file in members)))

    def covers(self, name: str) -> bool:
        """Whether a log file of this name, had CloudTrail delivered it, would be in a digest."""
        told = _delivered(name)
        if told is None:
            return False
        account, region, second = told
        return any(a + BORDER <= second < b - BORDER for a, b in self._spans.get((account, region), ()))


def _delivered(name: str) -> tuple[str, str, int] | None:
    """Account, region and time of delivery, by a log file's name."""
    told = DELIVERED.search(name)
    second = epoch(f"{told[3]}00Z") if told else None
    return (told[1], told[2], second) if told and second is not None else None


def _judged(log: _Read, listing: _Listing, files: Sequence[DigestFile], covered: _Covered) -> tuple[str, list[Problem]]:
    """What a log file is, and what is wrong with it."""
    places = listing.of(log.stem)
    listing.found[places] = True
    by = {files[number].status: files[number] for number in listing.digest[places].tolist()}
    same = bool((listing.shas[places] == np.frombuffer(log.sha, "V32")).all()) and not log.problem
    if not by:
        if not covered.covers(log.name):
            return "uncovered", []
        return "unlisted", [
            Problem("log_unlisted", log.name, "delivered when digests say what was, and in none of them")
        ]
    if not same:
        (lister, *_) = by.values()
        return "changed", [
            Problem("log_changed", log.name, log.problem or f"its SHA-256 is not the one in {lister.name}")
        ]
    return (VERIFIED if VERIFIED in by else "unproven"), []


def _missing(listing: _Listing, files: Sequence[DigestFile], tally: _Tally) -> None:
    """What digests list, and is not here."""
    gone = np.flatnonzero(~listing.found)
    tally.logs["missing"] = len(np.unique(listing.names[gone]))
    names = set(listing.names[gone].tolist())
    for number in np.unique(listing.digest[gone]).tolist():
        for stem in files[number].listed:
            if _print(stem) in names:
                names.discard(_print(stem))
                tally.tell([Problem("log_missing", stem, f"{files[number].name} lists it")])


def _summary(files: Sequence[DigestFile], gaps: Sequence[Gap], tally: _Tally, *, unreadable: int) -> Json:
    statuses = Counter(file.status for file in files)
    statuses[INVALID] += unreadable
    return {
        "ok": not tally.problems_count and not gaps,
        "digests": {status: statuses[status] for status in (VERIFIED, INVALID, UNSIGNED, KEY_UNKNOWN)},
        "log_files": {one: tally.logs[one] for one in OUTCOMES},
        "chains": _chains(files),
        "gaps": [_gap(gap) for gap in gaps[:LISTED]],
        "gaps_count": len(gaps),
        "problems": [problem._asdict() for problem in tally.problems],
        "problems_count": tally.problems_count,
    }


OUTCOMES = (VERIFIED, "unproven", "changed", "missing", "unlisted", "uncovered")
"""What a log file may be; `uncovered`: no digest is there for the time it was delivered at."""


def _chains(files: Sequence[DigestFile]) -> list[Json]:
    chains: dict[Any, list[DigestFile]] = defaultdict(list)
    for file in files:
        chains[file.chain].append(file)
    return [_chain(chain, chains[chain]) for chain in sorted(chains)[:LISTED]]


def _chain(chain: digests.Chain, members: Sequence[DigestFile]) -> Json:
    """begins: the chain's first digest is here; else it goes on before, and nobody can say what was there."""
    first = min(members, key=lambda file: file.digest.end)
    return {
        **chain._asdict(),
        "from": iso(first.digest.start),
        "until": iso(max(file.digest.end for file in members)),
        "digests": len(members),
        "begins": first.digest.previous is None,
    }


def _gap(gap: Gap) -> Json:
    return {**gap.chain._asdict(), "from": iso(gap.start), "until": iso(gap.end), "why": gap.why}


def _counts(counts: Json) -> str:
    return ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count) or "none"


def _print(stem: str) -> int:
    """64 bits of a name, which nobody makes two names of on purpose."""
    return int.from_bytes(hashlib.sha256(stem.encode("utf-8", "surrogatepass")).digest()[:8], "little")
