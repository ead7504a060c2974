"""One example of every kind of rule, for tests that hold for all: a rule, and records in which it finds something.

Whoever adds a kind adds its row to `KIND`; a test asks for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from detector.core.access import AccessBatch, Log, Operation, Row, text_hash
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.principal import Principal
from detector.core.rule import KINDS, Rule
from detector.core.watermark import Watermark
from detector.watches import watches

DAY = 86_400
T0 = 1_777_593_600
"""A midnight, UTC."""
NOW = T0 + 400 * DAY


@dataclass(frozen=True, order=True)
class Fact:
    """One record. `op`: a class of operation."""

    time: int
    name: str = "thief"
    role: str = "Reader"
    op: str = "read"
    bucket: str = "voice"
    key: str = "raw/k"
    address: str = "198.51.100.7"
    extra: str = ""
    to: str | None = None

    @property
    def who(self) -> Principal:
        account, unique = "111122223333", f"AROA{self.role.upper()}"
        return Principal(
            "AssumedRole", f"{unique}:{self.name}", f"arn:aws:sts::{account}:assumed-role/{self.role}/{self.name}",
            unique, f"arn:aws:iam::{account}:role/{self.role}", account, session_name=self.name,
            access_key=f"ASIA{self.name}",
        )  # fmt: skip

    def row(self) -> Row:
        """The record as a parser gives it."""
        told = repr(self)
        if self.op == "audit":
            key, sample = (None, self.extra) if self.extra else (self.key, None)
            who = Principal("Application", *[f"app:{self.name}"] * 4, "application")
            return Row(
                Log.access_audit, self.time, text_hash(told), "application/", operation=Operation.read, who=who,
                bucket=self.bucket or None, key=key, sample_id=sample, event_id=told, purpose="labelling",
            )  # fmt: skip
        return Row(
            Log.cloudtrail, self.time, text_hash(told), "111122223333/us-east-1", operation=Operation[self.op], bytes=1,
            who=self.who, has_arn=True, api=self.op.title(), bucket=self.bucket, key=self.key or None,
            source_ip=self.address, user_agent="aws-cli/2", region="us-east-1", event_id=told, destination=self.to,
        )  # fmt: skip


def batch(facts: Iterable[Fact | Row]) -> AccessBatch:
    """These records as the engine gets them."""
    builder = BatchBuilder()
    for fact in facts:
        builder.add(fact.row() if isinstance(fact, Fact) else fact)
    return builder.build()


@dataclass(frozen=True)
class Kind:
    """A rule's own fields, and the records. pooled: what some do shifts what is found of others."""

    fields: dict[str, Any]
    facts: list[Fact]
    pooled: bool = False

    def rule(self, kind: str) -> Rule:
        """The rule."""
        common = {"id": kind.replace("_", "-"), "title": "t", "severity": "high", "kind": kind}
        return KINDS[kind].model_validate(common | self.fields)  # type: ignore[return-value]


def _steady() -> list[Fact]:
    """A role that reads 5 to 7 objects a pane for four days, and once very many."""
    facts = []
    for pane in range(4 * 288):
        many = 2000 if pane == 4 * 288 - 10 else 5 + pane % 3
        facts += [Fact(T0 + pane * 300 + i % 300, key=f"{pane}/{i}") for i in range(many)]
    return facts


READS = {"operation": "read"}
KIND: dict[str, Kind] = {
    "threshold": Kind(
        {"where": READS, "measure": "objects", "window": "60s", "threshold": 3},
        [Fact(T0 + i * 7, key=f"raw/{i}") for i in range(20)]
        + [Fact(T0 + 900 + i * 90, "slow", key=f"{i}") for i in range(9)],
    ),
    "match": Kind(
        {"where": {"operation": "control"}, "window": "60s"},
        [Fact(T0 + i, op="control") for i in (0, 50, 111, 500)] + [Fact(T0 + i) for i in range(9)],
    ),
    "scope": Kind(
        {"where": READS, "session_name": "c-{id}", "allowed_key": "{id}/**", "window": "60s", "group_by": "role"},
        [Fact(T0 + i * 30, f"c-{i % 3}", key=f"{i % 4}/k{i}") for i in range(24)] + [Fact(T0 + 5, "other", "Other")],
    ),
    "sequence": Kind(
        {
            "within": "10m",
            "steps": (
                {"where": {"operation": "list"}},
                {"where": READS, "measure": "objects", "count": 3},
                {"where": {"operation": "delete"}, "count": 2},
            ),
        },
        [Fact(T0, op="list"), *(Fact(T0 + 60 + i, key=f"k{i}") for i in range(4))]
        + [Fact(T0 + 200 + i * 100, op="delete", key=f"k{i}") for i in range(6)]
        + [Fact(T0 + 30 + i, "slow", op=op) for i, op in enumerate(("delete", "read", "list"))],
    ),
    "first_seen": Kind(
        {"where": READS, "group_by": "bucket", "what": "role", "learn": "2d", "forget": "5d", "window": "1h"},
        [Fact(T0 + day * DAY + n, f"s{day}", f"R{n % (1 + day // 2)}") for day in range(8) for n in range(6)]
        + [Fact(T0 + 20 * DAY, role="R0"), Fact(T0 + 21 * DAY, role="R1"), Fact(T0 + 23 * DAY, role="R2")],
    ),
    "decoy": Kind(
        {"decoys": ("s3://voice/raw/decoy",), "window": "60s"},
        [Fact(T0 + i * 50, "thief" if i % 3 else "other", key=f"raw/{'decoy' if i % 2 else i}") for i in range(12)],
    ),
    "unaudited": Kind(
        {"where": READS, "within": "60s", "silent_after": "10m", "window": "60s", "threshold": 2,
         "key": "raw/{sample_id}"},
        [Fact(T0 + i * 20, "thief" if i % 3 else "other", key=f"raw/{i}") for i in range(60)]
        + [Fact(T0 + i * 20 + i % 90, op="audit", key=f"raw/{i}", bucket="voice" * (i % 3 % 2))
           for i in range(0, 60, 4)]
        + [Fact(T0 + i * 20 - 9, op="audit", extra=f"{i}") for i in range(1, 60, 6)]
        + [Fact(T0 + DAY + i, f"s{i % 5}", key=f"night/{i}") for i in range(20)],
    ),
    "received": Kind(
        {"source": ("voice*",), "where": {"operation": ("read", "control")}, "window": "60s", "threshold": 2,
         "reviewed": ({"bucket": "st*", "at": "2026-05-01T01:00:00Z", "owner": "o", "reason": "r"},)},
        [Fact(T0 + 100, op="copy", to="stage"), Fact(T0 + 40, op="copy", bucket="stage", to="scratch")]
        + [Fact(T0 + 4000, op="copy", bucket="voice-2", to="stage"), Fact(T0 + 9, op="copy", to="voice-archive")]
        + [Fact(T0 + i * 29, f"s{i % 2}", bucket=b, key=f"{i}") for i in range(200)
           for b in ("stage", "scratch", "voice-archive")]
        + [Fact(T0 + 7000, op="control", bucket="stage"), Fact(T0 + 7001, op="list", bucket="stage")],
    ),
    "silence": Kind(
        {"where": READS, "every": "1h", "group_by": "bucket", "expect": ("voice", "never-read"), "forget": "30h"},
        [Fact(T0 + i * 600, bucket=f"b{i % 3}", key=f"{i}") for i in range(40)]
        + [Fact(T0 + 20 * 3600, bucket="b1"), Fact(T0 + 2 * DAY), Fact(T0 + 3 * DAY, op="list", bucket="b2")],
    ),
    "baseline": Kind(
        {"where": READS, "threshold": 2, "learn_role_days": 1, "cooldown": "1h"}, _steady(), pooled=True
    ),
}  # fmt: skip


def hostile() -> list[Row]:
    """Records of somebody else with nothing in them, and with what an attacker might write."""
    bare = Fact(T0 + 11, "x", "Empty").row()
    nothing = dict.fromkeys(("api", "bucket", "key", "source_ip", "user_agent", "region"))
    rows = [bare._replace(**nothing, id=1, event_id="1"), bare._replace(**nothing, who=None, id=2, event_id="2")]
    texts = [
        "*",
        "**",
        "c-*",
        "c-{id}",
        "{id}",
        "\ufffd",
        "a\x00b\n",
        "../" * 9,
        "(.*",
        "[",
        "x" * 9000,
        "c-",
        "'; --",
        "",
    ]
    for number, text in enumerate(texts):
        for op in ("read", "list", "delete", "control"):
            fact = Fact(T0 + 20 + number, text, "Evil", op, "evil-" + text, f"{text}/{text}", text)
            rows.append(fact.row()._replace(user_agent=text, region=text))
    return rows


def replayed(rule: Rule, batches: Iterable[Sequence[Fact | Row]]) -> tuple[Engine, list[Finding]]:
    """The engine and its CLOSED findings, by opening."""
    engine = Engine([rule], watches(once=True), best_copies=True)
    for some in batches:
        engine.process(batch(some), NOW)
    return engine, _closed(engine.finish())


class Daemon:
    """An engine driven as the daemon drives it; nothing in it is ever late. `told`: all findings, in order."""

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.parts: dict[str, bytes] = {}
        self.told: list[Finding] = []
        self.engine = self._made()

    def _made(self) -> Engine:
        return Engine(
            [self.rule], watches(gather=True), watermark=Watermark(dict.fromkeys(Log, 300 * DAY)), horizon=400 * DAY
        )

    def poll(self, facts: Sequence[Fact | Row]) -> None:
        """One poll: records, findings, checkpoint."""
        self.engine.process(batch(facts), NOW)
        self.told += self.engine.judge() + self.engine.advance(NOW, backlog=False)
        parts = self.parts | self.engine.changes()
        self.parts = {name: part for name, part in parts.items() if part is not None}

    def restart(self) -> None:
        """Killed, and begun anew from the last checkpoint."""
        self.engine = self._made()
        self.engine.restore(self.parts)

    def end(self) -> list[Finding]:
        """The end of the data: the CLOSED findings."""
        self.told += self.engine.finish()
        assert self.engine.failures == {}
        return _closed(self.told)


def _closed(findings: Iterable[Finding]) -> list[Finding]:
    return sorted((f for f in findings if f.state == "closed"), key=lambda f: (f.opened_at, f.finding_id))


def shown(findings: Iterable[Finding]) -> list[dict[str, Any]]:
    """What people see of them, evidence aside: the daemon's differs."""
    return [replace(f, evidence={}).to_json() for f in findings]
