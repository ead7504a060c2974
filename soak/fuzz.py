"""`python -m soak.fuzz TARGET …`: throws mutated inputs at one target until the time is over.

Guided by coverage (atheris) where that is installed; elsewhere mutations of the corpus, unguided. One input for each
way to fail is kept (the smallest), named by a hash of how it failed; the run goes on. Exit status 1 if anything failed.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import sys
import time
import traceback
import zlib
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

MOST = 1 << 16
"""Bytes of an input."""

SLOW, SLOWER = 2.0, 50e-6
"""CPU seconds a reading may take, and more for each byte: a hundred times what is usual, with coverage on top."""

PROGRAM = Path(__file__).resolve().parents[1] / "detector"
GUIDED = find_spec("atheris") is not None


Check = Callable[[bytes, bool], None]
"""Checks the properties of an input: all of them, or (False) only those that take little time."""


def targets() -> dict[str, Check]:
    """Name → what checks an input. Imported late: coverage watches what is imported under it."""
    from soak.properties import check_file, check_message

    def file(data: bytes, beside: bool) -> None:
        check_file(data, beside=beside)

    def message(data: bytes, beside: bool) -> None:
        check_message(data.decode("utf-8", "replace"), beside=beside)

    return {"cloudtrail": file, "server_access": file, "access_audit": file, "envelope": message}


class Finds:
    """What failed: a folder with the smallest input for each way to fail, and how it failed beside it."""

    def __init__(self, folder: Path, check: Check) -> None:
        self._folder, self._check = folder, check
        self._smallest: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._smallest)

    def attempt(self, data: bytes) -> None:
        """Check one input; keep it if it fails in a new way, or is smaller than what failed so before."""
        beside = zlib.crc32(data) % IN_FULL == 0
        how = failure(self._check, data, beside)
        if how and len(data) < self._smallest.get(how, MOST + 1):
            small = shrunk(data, lambda less: failure(self._check, less, beside) == how)
            self._smallest[how] = len(small)
            self._folder.mkdir(parents=True, exist_ok=True)
            name = hashlib.blake2b(how.encode(), digest_size=6).hexdigest()
            (self._folder / name).write_bytes(small)
            (self._folder / f"{name}.txt").write_text(how + "\n")


IN_FULL = 4
"""Of so many inputs one is checked for everything. Which ones, depends on nothing but the input."""


def failure(check: Check, data: bytes, beside: bool = True) -> str:
    """How the check of an input fails: the same text for the same fault; empty if all holds."""
    began = time.process_time()
    try:
        check(data, beside)
    except Exception as error:  # noqa: BLE001  any exception is a find
        frames = [f for f in traceback.extract_tb(error.__traceback__) if Path(f.filename).is_relative_to(PROGRAM)]
        place = f" in {Path(frames[-1].filename).name}:{frames[-1].name}" if frames else ""
        return f"{type(error).__name__}{place}: {error if isinstance(error, AssertionError) else ''}".strip(" :")
    took = time.process_time() - began
    return "too slow" if took > SLOW + CHECKS * SLOWER * _size(data) else ""


CHECKS = 20
"""So many readings of it, or of what holds it, a check of an input makes at most."""


def _size(data: bytes) -> int:
    from detector.logs.inflate import inflate

    return max(len(data), len(inflate(data).data))


def shrunk(data: bytes, fails: Callable[[bytes], bool], seconds: float = 20) -> bytes:
    """A smaller input that fails likewise: pieces are left out, large ones first, for so long at most."""
    step, end = len(data) // 2, time.monotonic() + seconds
    while step and time.monotonic() < end:
        at = 0
        while at < len(data) and time.monotonic() < end:
            less = data[:at] + data[at + step :]
            data, at = (less, at) if fails(less) else (data, at + step)
        step //= 2
    return data


def main() -> int:
    """Fuzz one target; exit status 1 if anything failed."""
    chosen = _options().parse_args()
    if GUIDED:
        import atheris

        with atheris.instrument_imports(include=["detector"]):
            check = targets()[chosen.target]
    else:
        print("atheris is not installed for this Python or platform: mutations without guidance by coverage")
        check = targets()[chosen.target]
    finds = Finds(chosen.found / chosen.target, check)
    for seed in sorted(path for folder in chosen.corpus for path in folder.glob("*") if path.is_file()):
        finds.attempt(seed.read_bytes())
    (_guided if GUIDED else _unguided)(chosen, finds)
    return 1 if len(finds) else 0


def _options() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser("python -m soak.fuzz", description=__doc__)
    options.add_argument("target", choices=["cloudtrail", "server_access", "access_audit", "envelope"])
    options.add_argument(
        "corpus", nargs="+", type=Path, help="folders of inputs to start from; new ones go to the first"
    )
    options.add_argument("--found", type=Path, required=True, help="where inputs that fail are kept")
    options.add_argument("--seconds", type=int, required=True)
    options.add_argument("--seed", type=int, default=0, help="0: another one every time")
    return options


def _guided(chosen: argparse.Namespace, finds: Finds) -> None:
    """With atheris. It ends the process by itself, so the exit status is set on the way out."""
    import atheris

    from soak.mutate import mutated

    def mutation(data: bytes, most: int, seed: int) -> bytes:
        chance = random.Random(seed)
        return atheris.Mutate(data, most) if chance.random() < 0.1 else mutated(data, chance, most)

    limits = [
        f"-max_total_time={chosen.seconds}",
        f"-max_len={MOST}",
        "-timeout=60",
        "-rss_limit_mb=3000",
        "-report_slow_units=60",
    ]
    quiet = [
        f"-artifact_prefix={chosen.found / chosen.target}/",
        "-print_final_stats=1",
        "-verbosity=1",
        f"-seed={chosen.seed}",
    ]
    atheris.Setup([sys.argv[0], *limits, *quiet, *map(str, chosen.corpus)], finds.attempt, custom_mutator=mutation)
    atheris.Fuzz()


def _unguided(chosen: argparse.Namespace, finds: Finds) -> None:
    """Mutations of the corpus and of what they made of it, for as long."""
    from soak.mutate import mutated

    chance = random.Random(chosen.seed or None)
    pool = [path.read_bytes() for folder in chosen.corpus for path in sorted(folder.glob("*"))] or [b""]
    end, tried = time.monotonic() + chosen.seconds, 0
    while time.monotonic() < end:
        data = mutated(chance.choice(pool), chance, MOST)
        finds.attempt(data)
        tried += 1
        if len(data) < 10_000 and chance.random() < 0.05:
            pool = [*pool[-2000:], data]
    print(f"{tried} inputs")


if __name__ == "__main__":
    sys.exit(main())
