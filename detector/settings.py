"""The daemon's configuration: a YAML file, every key of which may also come from the environment.

`BUCKETWATCH_SOURCE__QUEUE_URL=…` sets `source.queue_url`; values are read as YAML. Unknown keys and unknown variables
are mistakes. Relative paths are relative to the directory the program runs in.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from detector.core.document import document_key, explain, fields_at, load_yaml, locate, plain
from detector.core.owner import owners
from detector.core.part import MEMORY
from detector.core.redaction import Redaction
from detector.core.rule import Duration, Model, Size
from detector.errors import Problem, SettingsError, UnreadablePathError
from detector.logs.limits import LIMITS
from detector.response.documents import VPC, VPC_ENDPOINT
from detector.response.identity import POLICY_ARN
from detector.storm import STORM

PREFIX = "BUCKETWATCH_"
NOT_SETTINGS = frozenset({"BUCKETWATCH_REQUIRE_ALL"})
"""Variables with our prefix that are no settings: they are for the test suite."""

AccountId = Annotated[str, Field(pattern=r"^\d{12}$")]


PRIVATE = [*map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))]


def _network(value: str) -> str:
    try:
        network = ip_network(value)
    except ValueError as error:
        msg = f"expected a network such as 203.0.113.0/24, got {value!r}: {error}"
        raise ValueError(msg) from error
    if any(network.version == own.version and network.overlaps(own) for own in PRIVATE):
        msg = f"expected public addresses, got {value!r}: private ones reach S3 by an endpoint; name it, or the VPC"
        raise ValueError(msg)
    return str(network)


def _owners(patterns: tuple[str, ...]) -> tuple[str, ...]:
    owners(patterns)
    return patterns


SomePath = Annotated[Path, BeforeValidator(lambda value: Path(value).expanduser() if isinstance(value, str) else value)]


class Sqs(Model):
    """An SQS queue of notices about log files."""

    kind: Literal["sqs"]
    queue_url: Annotated[str, Field(pattern=r"^https?://\S+$")]


class Directory(Model):
    """A directory into which log files are moved."""

    kind: Literal["directory"]
    path: SomePath


class Listing(Model):
    """A prefix of a bucket with log files. every: between listings. lookback: how late a file may come, by its name."""

    kind: Literal["s3"]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]+$")]
    prefix: str = ""
    every: Annotated[Duration, Field(ge=1)] = 60
    lookback: Annotated[Duration, Field(ge=86_400)] = 3 * 86_400


class Accept(Model):
    """Which log buckets may be read, and whose logs."""

    buckets: tuple[str, ...] = ()
    accounts: tuple[AccountId, ...] = ()


class Sqlite(Model):
    """State in a SQLite file."""

    kind: Literal["sqlite"]
    path: SomePath


class S3(Model):
    """State in S3, below a prefix of a bucket. lease: seconds after which a silent holder is succeeded."""

    kind: Literal["s3"]
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]+$")]
    prefix: str = "bucketwatch"
    lease: Annotated[Duration, Field(ge=3)] = 30


class Sns(Model):
    """Alerts to an SNS topic. ocsf: OCSF Detection Findings instead of the contract's JSON (mail stays plain text)."""

    kind: Literal["sns"]
    ocsf: bool = False
    topic_arn: Annotated[str, Field(pattern=r"^arn:[a-z-]+:sns:[a-z0-9-]+:\d{12}:[\w.-]+$")]


class File(Model):
    """Alerts as JSON lines in a file."""

    kind: Literal["file"]
    ocsf: bool = False
    path: SomePath


class Stdout(Model):
    """Alerts as JSON lines on standard output."""

    kind: Literal["stdout"]
    ocsf: bool = False


class Place(Model):
    """On a disk, or objects below a prefix of a bucket."""

    path: SomePath | None = None
    bucket: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]+$")] | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.path is None) == (self.bucket is None):
            msg = "expected either path or bucket (and prefix)"
            raise ValueError(msg)
        if self.path is not None and (other := self.model_fields_set - {"path"}):
            verb = "goes" if len(other) == 1 else "go"
            msg = f"{', '.join(sorted(other))} {verb} with bucket"
            raise ValueError(msg)
        return self


class JournalPlace(Place):
    """The hash-chained record of findings and actions.

    retention: seconds for which objects are locked, where the bucket has object lock.
    """

    prefix: str = "journal"
    retention: Annotated[Duration, Field(ge=86_400)] | None = None
    lock: Literal["governance", "compliance"] = "governance"


class Grouping(Model):
    """How many alerts of findings just opened go out one by one (`detector.storm`)."""

    window: Annotated[Duration, Field(ge=1)] = STORM.window
    single: Annotated[int, Field(ge=1)] = STORM.single
    total: Annotated[int, Field(ge=1)] = STORM.total
    every: Annotated[Duration, Field(ge=1)] = STORM.every
    critical_within: Annotated[Duration, Field(ge=1)] = STORM.critical_within
    named: Annotated[int, Field(ge=1, le=100)] = STORM.named
    ids: Annotated[int, Field(ge=1, le=1000)] = STORM.ids


class QuarantinePlace(Place):
    """Bytes of messages that could not be used."""

    prefix: str = "quarantine"


class ArchivePlace(Place):
    """Access-record Parquet by hour (`detector.archive`)."""

    prefix: str = "archive"


class DecoysPlace(Place):
    """The registry of decoys, files that `bucketwatch decoy plant` writes (`detector.decoy.registry`)."""

    prefix: str = "decoys"


class VerdictsPlace(Place):
    """What people said of findings, as files (`bucketwatch feedback`)."""

    prefix: str = "verdicts"


class Fetch(Model):
    """Log files of S3 fetched at the same time, and the bytes fetched and not yet read (`detector.intake`)."""

    threads: Annotated[int, Field(ge=1, le=16)] = 8
    memory: Size = 64 << 20


class Responder(Model):
    """How an account's IAM is reached: with the daemon's own credentials, or through a role assumed there.

    boundary: ARN of the permissions boundary that its guarded roles carry; then that is written, and never a role.
    """

    role_arn: str | None = None
    external_id: str | None = None
    boundary: Annotated[str, Field(pattern=f"^{POLICY_ARN.pattern}$")] | None = None


class Workload(Model):
    """From where roles of machines call: then what is used elsewhere is denied, and the machines go on.

    role: glob of a role's name or ARN.
    """

    role: Annotated[str, Field(min_length=1)]
    networks: tuple[Annotated[str, AfterValidator(_network)], ...] = ()
    vpcs: tuple[Annotated[str, Field(pattern=f"^{VPC.pattern}$")], ...] = ()
    vpc_endpoints: tuple[Annotated[str, Field(pattern=f"^{VPC_ENDPOINT.pattern}$")], ...] = ()

    @model_validator(mode="after")
    def _names_some(self) -> Self:
        if not (self.networks or self.vpcs or self.vpc_endpoints):
            msg = "expected networks, vpcs or vpc_endpoints of the workload"
            raise ValueError(msg)
        return self


class CasesPlace(Place):
    """What was revoked and taken back, as files (`detector.response.register`)."""

    prefix: str = "cases"


def _by_account(value: object) -> object:
    return (
        {account: {} for account in value}
        if isinstance(value, tuple) and all(isinstance(v, str) for v in value)
        else value
    )


class Responding(Model):
    """off: no plans. plan: plans in the alerts. enforce: plans of rules that say `revoke` are applied.

    responder: who applies them: the daemon, or `bucketwatch respond serve`. buckets: globs of buckets whose policy may
    be written, and their account. verify_after: seconds after which a revoked session's success is an alarm.
    """

    mode: Literal["off", "plan", "enforce"] = "plan"
    max_age: Duration = 1800
    armed: bool = False
    hourly: Annotated[int, Field(ge=0)] = 10
    accounts: Annotated[dict[AccountId, Responder], BeforeValidator(_by_account)] = Field(default_factory=dict)
    protected_roles: tuple[str, ...] = ()
    responder: Literal["daemon", "separate"] = "daemon"
    workloads: tuple[Workload, ...] = ()
    buckets: dict[str, AccountId] = Field(default_factory=dict)
    verify_after: Annotated[Duration, Field(ge=60)] = 300
    cases: CasesPlace | None = None


class Bounds(Model):
    """How much one file, inflated, one record, one line and one message may be (`detector.logs.limits`)."""

    inflated: Size = LIMITS.inflated
    record: Size = LIMITS.record
    nesting: Annotated[int, Field(ge=1)] = LIMITS.nesting
    line: Size = LIMITS.line
    message: Size = LIMITS.message


class Blind(Model):
    """From when on the daemon calls itself blind (`detector.blindness.Limits`)."""

    lag: Duration = 1800
    source: Duration = 6 * 3600
    partition: Duration = 12 * 3600
    bucket: Duration = 24 * 3600
    rejects: Annotated[float, Field(gt=0, le=1)] = 0.05


class Canary(Model):
    """Objects that are read on a schedule, and whose reads the logs must tell of."""

    every: Duration = 900
    within: Duration = 2700
    objects: Annotated[
        tuple[Annotated[str, Field(pattern=r"^s3://[a-z0-9.-]{3,63}/.{1,1024}$")], ...], Field(min_length=1)
    ]


class Http(Model):
    """Where /metrics, /healthz and /readyz are served; port 0 takes a free one."""

    host: str = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 9464


class OnSpark(Model):
    """For `watch --engine spark`. path: of Spark's checkpoint, seen by all machines. shards: of every step."""

    path: SomePath
    shards: Annotated[int, Field(ge=1, le=1024)] = 8


class Settings(Model):
    """The whole configuration."""

    source: Annotated[Sqs | Directory | Listing, Field(discriminator="kind")]
    accept: Accept = Accept()
    rules: SomePath | None = None
    decoys: DecoysPlace | None = None
    learnt: SomePath | None = None
    verdicts: VerdictsPlace | None = None
    state: Annotated[Sqlite | S3, Field(discriminator="kind")]
    alerts: tuple[Annotated[Sns | File | Stdout, Field(discriminator="kind")], ...] = (Stdout(kind="stdout"),)
    journal: JournalPlace
    storm: Grouping = Grouping()
    sink_down_after: Duration = 600
    daily_digest: Literal["journal", "send"] = "journal"
    quarantine: QuarantinePlace | None = None
    archive: ArchivePlace | None = None
    fetch: Fetch = Fetch()
    response: Responding = Responding()
    protected_buckets: tuple[str, ...] = ()
    owner: Annotated[tuple[str, ...], AfterValidator(_owners)] = ()
    http: Http | None = None
    blind: Blind = Blind()
    canary: Canary | None = None
    prefer: dict[str, Literal["cloudtrail", "server_access"]] = Field(default_factory=dict)
    lateness: dict[Literal["cloudtrail", "server_access", "access_audit"], Duration] = Field(default_factory=dict)
    idle_after: Duration = 3600
    horizon: Duration = 48 * 3600
    memory: Size = MEMORY
    limits: Bounds = Bounds()
    redact_keys: Redaction = "none"
    spark: OnSpark | None = None

    @property
    def log_buckets(self) -> tuple[str, ...]:
        """Buckets that may be read."""
        own = (self.source.bucket,) if isinstance(self.source, Listing) else ()
        return own or self.accept.buckets

    @model_validator(mode="after")
    def _accepts_something(self) -> Settings:
        if isinstance(self.source, Sqs) and not self.accept.buckets:
            msg = "accept: expected accept.buckets with the log buckets that may be read: an SQS source needs it"
            raise ValueError(msg)
        return self


def read_settings(path: Path, environment: Mapping[str, str]) -> Settings:
    """The configuration of a file and the environment. Raises SettingsError with every mistake, UnreadablePathError."""
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UnreadablePathError.of_config(path, error) from error
    problems: list[Problem] = []
    document = load_yaml(str(path), text, problems)
    values = plain(document)
    if not problems and not isinstance(values, dict):
        problems.append(Problem(str(path), 1, 1, "expected keys such as source, state and journal"))
    if problems:
        raise SettingsError(problems)
    _overlay(values, environment, problems)
    try:
        settings = None if problems else Settings.model_validate(values)
    except ValidationError as error:
        settings = None
        problems += [_problem(str(path), document, detail) for detail in error.errors(include_url=False)]
    if settings is None:
        raise SettingsError(problems)
    return settings


def _overlay(values: dict[str, Any], environment: Mapping[str, str], problems: list[Problem]) -> None:
    """Put the environment's values over the file's."""
    for name in sorted(environment):
        if not name.startswith(PREFIX) or name in NOT_SETTINGS:
            continue
        keys = name[len(PREFIX) :].lower().split("__")
        if keys[0] not in Settings.model_fields:
            problems.append(Problem(name, 0, 0, "unknown variable: no such key in the config"))
            continue
        node = values
        for key in keys[:-1]:
            inner = node.get(key)
            node[key] = node = dict(inner) if isinstance(inner, dict) else {}
        node[keys[-1]] = plain(load_yaml(name, environment[name], problems))


def _problem(name: str, document: Any, detail: Any) -> Problem:
    path = [step for step in detail["loc"] if step not in ("sqs", "directory", "sns", "file", "stdout", "sqlite", "s3")]
    message = explain(detail | {"loc": tuple(path)}, fields_at(Settings, path or [""]))
    if detail["type"] == "extra_forbidden":
        parent = document
        for step in path[:-1]:
            parent = parent[step] if _within(parent, step) else {}
        if _within(parent, path[-1]) and hasattr(parent, "lc"):
            return Problem(name, *document_key(parent, path[-1]), message)
    return Problem(name, *locate(document, path or [message.split(":")[0]]), message)


def _within(node: Any, step: Any) -> bool:
    return (
        step in node
        if isinstance(node, dict)
        else isinstance(node, list) and isinstance(step, int) and step < len(node)
    )
