"""From a configuration to the edges it names: which twin, where, with whose rights."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detector.aws.named import NamedLogs
    from detector.aws.prefix import PrefixSource
    from detector.aws.queue import SqsSource
    from detector.aws.roles import IamResponder
    from detector.chain import Journal
    from detector.edges import Edges
    from detector.learnt import Learnt
    from detector.local.directory import DirectorySource
    from detector.local.named import NamedFiles
    from detector.logs.envelope import Accept
    from detector.logs.limits import Limits
    from detector.response.guards import ResponsePolicy
    from detector.serving import Server
    from detector.settings import JournalPlace, Place, Settings
    from detector.source import Files, Lease, Responder, Sink, Source, StateStore


def edges(settings: Settings, lease: Lease | None) -> Edges:
    """All edges of the daemon."""
    from detector.edges import Edges

    return Edges(
        source=source(settings),
        store=_store(settings, lease),
        sinks=[_sink(alert) for alert in settings.alerts],
        journal=_journal(settings.journal),
        responder=_of_mode(settings),
        lease=lease,
        quarantine=_beside(settings.quarantine, settings.journal, "quarantine"),
        archive=_files(settings.archive) if settings.archive else None,
        cases=cases(settings) if settings.response.mode != "off" else None,
        verdicts=verdicts(settings),
    )


def policy(settings: Settings) -> ResponsePolicy:
    """What the operator allows to be done against a session."""
    from detector.response.documents import Networks
    from detector.response.guards import ResponsePolicy

    response = settings.response
    return ResponsePolicy(
        mode=response.mode,
        max_age=response.max_age,
        armed=response.armed,
        accounts=frozenset(response.accounts),
        protected_roles=response.protected_roles,
        own_roles=frozenset(how.role_arn for how in response.accounts.values() if how.role_arn),
        buckets=response.buckets,
        workloads=tuple((w.role, Networks(w.networks, w.vpcs, w.vpc_endpoints)) for w in response.workloads),
        boundaries={account: how.boundary for account, how in response.accounts.items() if how.boundary},
    )


def cases(settings: Settings) -> Files:
    """The files of the register of cases."""
    return _beside(settings.response.cases, settings.journal, "cases")


def decoys(settings: Settings) -> Files | None:
    """The files of the registry of decoys."""
    return _files(settings.decoys) if settings.decoys else None


def place(text: str) -> Files:
    """A folder, or `s3://bucket/prefix`, as files."""
    bucket, _, prefix = text.removeprefix("s3://").partition("/")
    return _files_at(bucket, prefix) if text.startswith("s3://") else _files_at(path=Path(text))


def verdicts(settings: Settings) -> Files:
    """The files of what people say of findings."""
    return _beside(settings.verdicts, settings.journal, "verdicts")


def learnt(settings: Settings) -> Learnt | None:
    """What baselines learned before. Raises InputError."""
    from detector.errors import UnreadablePathError
    from detector.learnt import decode

    if settings.learnt is None:
        return None
    try:
        return decode(settings.learnt.read_bytes(), str(settings.learnt))
    except OSError as error:
        raise UnreadablePathError(f"cannot be read: {error.strerror}", where=str(settings.learnt)) from error


def _of_mode(settings: Settings) -> Responder | None:
    """Who carries plans out for the daemon; None where nobody does."""
    if settings.response.mode != "enforce":
        return None
    if settings.response.responder == "separate":
        from detector.response.ordering import Ordering

        return Ordering()
    return responder(settings)


def _beside(place: Place | None, journal: JournalPlace, name: str) -> Files:
    """Where the config says, else beside the journal."""
    if place is not None:
        return _files(place)
    if journal.bucket is None:
        return _files_at(path=Path(journal.path or "").parent / name)
    return _files_at(journal.bucket, "/".join([*journal.prefix.strip("/").split("/")[:-1], name]))


def _files(place: Place) -> Files:
    return _files_at(place.bucket, getattr(place, "prefix", ""), place.path)


def _files_at(bucket: str | None = None, prefix: str = "", path: Path | None = None) -> Files:
    if bucket is not None:
        from detector.aws.files import PrefixFiles

        return PrefixFiles(bucket, prefix)
    from detector.local.files import FolderFiles

    return FolderFiles(path or "")


def accepted(settings: Settings) -> Accept:
    """Which logs may be read."""
    from detector.logs.envelope import Accept

    return Accept(frozenset(settings.log_buckets), frozenset(settings.accept.accounts))


def limits(settings: Settings) -> Limits:
    """How much a file, a record, a line and a message may be."""
    from detector.logs.limits import Limits

    return Limits(**settings.limits.model_dump())


def serving(settings: Settings, *, say: Any) -> Server:
    """The responder's own process. Raises InputError."""
    from detector.errors import InputError
    from detector.response.register import Register
    from detector.rules import load_rules, shipped
    from detector.serving import Own, Server

    if settings.response.mode != "enforce" or settings.response.responder != "separate":
        raise InputError(
            "this config has no responder of its own",
            where="response",
            remedy="set response.mode to enforce and response.responder to separate, here and in the daemon's config",
        )
    known = load_rules(settings.rules or shipped(), decoys(settings))
    rules = {rule.id: rule for rule in known if "revoke" in rule.respond}
    if not rules:
        raise InputError(
            "no rule says `respond: [revoke]`", where="rules", remedy="give the responder the rules that it may act for"
        )
    from detector.core.admit import Admission

    logs = _logs(settings)
    own = Own(
        rules,
        policy(settings),
        settings.response.hourly,
        logs.fetch,
        logs.beside,
        Admission.of(None, None, settings.prefer),
        limits(settings),
    )
    return Server(Register(cases(settings), "responder"), responder(settings), own, say=say)


def _logs(settings: Settings) -> NamedLogs | NamedFiles:
    """Log files by the names that the daemon shows; only from where the config says that logs come from."""
    from detector.settings import Directory

    if isinstance(settings.source, Directory):
        from detector.local.named import NamedFiles

        return NamedFiles(settings.source.path)
    from detector.aws.named import NamedLogs

    return NamedLogs(accepted(settings))


def make_lease(settings: Settings, *, say: Any) -> Lease:
    """The lease of a configuration's state, not yet held."""
    from detector.settings import S3

    if isinstance(settings.state, S3):
        from detector.aws.lease import S3Lease

        return S3Lease(settings.state.bucket, settings.state.prefix, duration=settings.state.lease, say=say)
    from detector.local.lease import FileLease

    return FileLease(settings.state.path, say=say)


def _store(settings: Settings, lease: Lease | None) -> StateStore:
    from detector.settings import S3

    if isinstance(settings.state, S3):
        from detector.aws.state import S3State

        return S3State(settings.state.bucket, settings.state.prefix, epoch=lambda: lease.epoch if lease else 0)
    from detector.local.sqlite import SqliteState

    return SqliteState(settings.state.path, lease)


def source(settings: Settings, **how: Any) -> Source:
    """Where notices come from, looked at once. how: what else is said to a source that lists files, such as `limit`."""
    from detector.settings import Directory, Listing

    found: DirectorySource | PrefixSource | SqsSource
    if isinstance(settings.source, Directory):
        from detector.local.directory import DirectorySource

        found = DirectorySource(settings.source.path, **how)
    elif isinstance(settings.source, Listing):
        from detector.aws.objects import S3Objects
        from detector.aws.prefix import PrefixSource

        how |= settings.source.model_dump(exclude={"kind"})
        found = PrefixSource(accept=accepted(settings), objects=S3Objects(), **how)
    else:
        from detector.aws.objects import S3Objects
        from detector.aws.queue import SqsSource

        found = SqsSource(settings.source.queue_url, accepted(settings), S3Objects(), limits=limits(settings))
    found.check()
    return found


def _journal(place: JournalPlace) -> Journal:
    if place.bucket is not None:
        from detector.aws.journal import Lock, S3Journal

        return S3Journal(place.bucket, place.prefix, Lock(place.retention, place.lock.upper()))
    from detector.journal import Journal

    return Journal(place.path or "")


def _sink(alert: Any) -> Sink:
    from detector.local.file_sink import FileSink, StdoutSink
    from detector.settings import File, Sns

    if isinstance(alert, Sns):
        from detector.aws.topic import SnsSink

        return SnsSink(alert.topic_arn, ocsf=alert.ocsf)
    if isinstance(alert, File):
        return FileSink(alert.path, ocsf=alert.ocsf)
    return StdoutSink(as_json=True, ocsf=alert.ocsf)


def responder(settings: Settings, *, own: bool = False) -> IamResponder:
    """Who writes to IAM. own: with the rights of whoever runs this."""
    from detector.aws.roles import IamResponder
    from detector.aws.session import OtherAccount

    accounts = {
        account: OtherAccount(how.role_arn, how.external_id or "") if how.role_arn and not own else None
        for account, how in settings.response.accounts.items()
    }
    return IamResponder(accounts)
