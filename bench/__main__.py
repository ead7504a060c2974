"""`python -m bench`: make the logs once, run product and peers over them in turns, check their answers, print tables.

Exit status 1 if a run failed or an answer is not the true one; the table then leaves that run out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from bench.measure import ROOT, Used, measure
from bench.runs import SECTIONS, THRESHOLD, Data, Run, Section
from bench.table import Figures, table

PACKAGES = ("bucketwatch", "chdb", "duckdb", "polars", "isal", "msgspec", "numpy")
RECORDS, LINES = 1_200_000, 2_000_000
Measured = dict[Run, list[Used]]
Labels = dict[Data, dict[str, Any]]


def main(arguments: Sequence[str] | None = None) -> int:
    """The whole bench; its exit status."""
    chosen = _options().parse_args(arguments)
    sections = [section for section in SECTIONS if section.name in chosen.only]
    runs = _present(list(dict.fromkeys(run for section in sections for run in section.runs)))
    folders = {run.data: _folder(chosen, run.data) for run in runs}
    labels = {data: _generated(folder, chosen, data) for data, folder in folders.items()}
    measured, problems = _measured(runs, folders, labels, chosen.repeat)
    figures = {run: Figures.of(labels[run.data]["records"], used) for run, used in measured.items()}
    _report(chosen.cache, sections, figures, labels)
    _keep(chosen.cache / "results.json", chosen, measured, figures, labels)
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


def _options() -> argparse.ArgumentParser:
    names = [section.name for section in SECTIONS]
    options = argparse.ArgumentParser("python -m bench", description="bucketwatch beside its peers; exact or no figure")
    options.add_argument("--cache", type=Path, default=ROOT / ".bench", help="where logs and results are kept (.bench)")
    options.add_argument("--records", type=int, default=RECORDS, help=f"CloudTrail records ({RECORDS})")
    options.add_argument("--lines", type=int, default=LINES, help=f"server access log lines ({LINES})")
    options.add_argument("--repeat", type=int, default=3, help="repetitions; medians are shown (3)")
    options.add_argument("--only", nargs="+", choices=names, default=names, help="which tables (all)")
    return options


def _present(runs: list[Run]) -> list[Run]:
    """The runs whose peer is installed; the others are said."""
    missing = {run.needs for run in runs if run.needs and _version(run.needs) is None}
    for name in sorted(missing):
        _say(f"{name} is not installed and is left out; `make bench` installs the peers")
    return [run for run in runs if run.needs not in missing]


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _size(chosen: argparse.Namespace, data: Data) -> int:
    size: int = chosen.lines if data.kind == "access" else chosen.records
    return size


def _folder(chosen: argparse.Namespace, data: Data) -> Path:
    cache: Path = chosen.cache
    cache.mkdir(parents=True, exist_ok=True)
    (cache / ".gitignore").write_text("*\n")
    return cache.resolve() / f"{data.kind}-{_size(chosen, data)}-{data.principals}"


def _generated(folder: Path, chosen: argparse.Namespace, data: Data) -> dict[str, Any]:
    """The data's label. A process of its own makes the logs: this one must stay small."""
    if not (folder / "label.json").exists():
        _say(f"making {folder.name}")
        made = measure("bench.generate", [str(folder), data.kind, str(_size(chosen, data)), str(data.principals)])
        if made.failed:
            raise SystemExit(made.failed)
    label: dict[str, Any] = json.loads((folder / "label.json").read_text())
    return label


def _measured(runs: list[Run], folders: dict[Data, Path], labels: Labels, repeat: int) -> tuple[Measured, list[str]]:
    """Every run `repeat` times, forwards and backwards in turn; and what went wrong."""
    measured: Measured = defaultdict(list)
    wrong: dict[Run, str] = {}
    for turn in range(repeat):
        for run in runs if turn % 2 == 0 else reversed(runs):
            if run in wrong:
                continue
            _say(f"{turn + 1}/{repeat} {run.data.kind}: {run.name}", end=" ")
            used = measure(
                f"bench.peers.{run.peer}",
                [str(folders[run.data] / "logs"), str(run.window), str(THRESHOLD), *run.extra],
            )
            _say(f"{used.cpu:.1f} s")
            measured[run].append(used)
            problem = used.failed or _difference(run, used.output, labels[run.data])
            if problem:
                wrong[run] = f"{run.data.kind}: {run.name}: {problem}"
    return {run: used for run, used in measured.items() if run not in wrong}, list(wrong.values())


def _difference(run: Run, output: str, label: dict[str, Any]) -> str:
    """Why an answer is not the true one; empty if it is."""
    if not run.answers:
        return ""
    expected = label["answers"][str(run.window)]
    got = [json.loads(line) for line in output.splitlines()]
    return "" if got == expected else f"a wrong answer: expected {expected}, got {got}"


def _report(cache: Path, sections: Iterable[Section], figures: dict[Run, Figures], labels: Labels) -> None:
    text = []
    for section in sections:
        named = {run.name: figures[run] for run in section.runs if run in figures}
        data = section.runs[0].data
        records = f"{labels[data]['records']:,} {'lines' if data.kind == 'access' else 'records'}"
        text += [f"### {section.title} ({records})", "", table(section, named), ""]
    print("\n".join(text))
    (cache / "results.md").write_text("\n".join(text))


def _keep(
    path: Path, chosen: argparse.Namespace, measured: Measured, figures: dict[Run, Figures], labels: Labels
) -> None:
    """All that was measured, as JSON."""
    runs = [
        asdict(run)
        | {"median": asdict(figures[run])}
        | {"measured": [{"cpu": one.cpu, "wall": one.wall, "peak": one.peak} for one in used]}
        for run, used in measured.items()
    ]
    data = [asdict(of) | {"records": label["records"], "bytes": label["bytes"]} for of, label in labels.items()]
    versions = {name: _version(name) for name in PACKAGES} | {"python": sys.version.split()[0]}
    kept = {"versions": versions, "repeat": chosen.repeat, "data": data, "runs": runs}
    path.write_text(json.dumps(kept, indent=1) + "\n")


def _say(text: str, end: str = "\n") -> None:
    print(text, end=end, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
