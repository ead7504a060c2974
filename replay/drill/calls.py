"""CloudTrail S3 data events and log files in their real shape, for drills, demo and tests. All but `write` is pure.

Rules of this file
- A file is delivered 60 to 420 s after each of its records, unordered within; 1 record in 200 is delivered twice, in
  the same file or in the next. CloudTrail promises neither order nor uniqueness.
- A record has the fields, their order and their quirks as CloudTrail writes them (CloudTrail user guide, "record
  contents" and "userIdentity element"; S3 user guide, "CloudTrail log file entries").
- Randomness is an argument. Role ids and access keys are hashes of what they belong to, so that one
  session has one id wherever it is made.
- Records of one `Calls` share their identity dict: copy a record before changing it.
- Accounts, roles and buckets are invented.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from operator import methodcaller
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import msgspec
import numpy as np

from detector.core.access import I64
from detector.core.times import iso

Record = dict[str, Any]
Identity = Mapping[str, Any]

DATA_ACCOUNT = "111122223333"
TOOLS_ACCOUNT = "222233334444"
PARTNER_ACCOUNT = "444455556666"
CIPHER = "TLS_AES_128_GCM_SHA256"
ERROR_BODY_BYTES = 243
REQUEST_ALPHABET = np.frombuffer(b"0123456789ABCDEFGHJKMNPQRSTVWXYZ", np.uint8)
SLOT = 300
DELAY = (60, 420)
DUPLICATE_SHARE = 0.005
MESSAGES = {"AccessDenied": "Access Denied", "NoSuchKey": "The specified key does not exist."}


class Partition(NamedTuple):
    """What CloudTrail delivers files for: one account in one region."""

    account: str
    region: str


BUCKETS = {
    "ml-voice-raw": Partition(DATA_ACCOUNT, "us-east-1"),
    "ml-voice-datasets": Partition(DATA_ACCOUNT, "us-east-1"),
    "ml-analytics": Partition(DATA_ACCOUNT, "us-east-1"),
    "ml-face-raw": Partition(DATA_ACCOUNT, "eu-west-1"),
    "ml-artifacts": Partition(TOOLS_ACCOUNT, "us-east-1"),
    "org-logs": Partition(TOOLS_ACCOUNT, "us-east-1"),
}
"""Every bucket of the organisation and where it lives."""
PARTITIONS = sorted(set(BUCKETS.values()))


class Api(NamedTuple):
    """What an API's records have of their own: extra request parameters, and which way an object's bytes go."""

    read_only: bool
    parameters: Mapping[str, str]
    bytes_out: bool = False
    bytes_in: bool = False
    lists: bool = False


APIS = {
    "GetObject": Api(True, {"x-id": "GetObject"}, bytes_out=True),
    "HeadObject": Api(True, {}),
    "ListObjects": Api(True, {"list-type": "2", "encoding-type": "url"}, bytes_out=True, lists=True),
    "PutObject": Api(False, {"x-id": "PutObject"}, bytes_in=True),
    "CopyObject": Api(False, {"x-id": "CopyObject"}),
    "RestoreObject": Api(False, {"restore": ""}),
}


class Actor(NamedTuple):
    """Who calls and from where, as one record shows it."""

    identity: Identity
    address: str
    agent: str
    vpc_endpoint: str | None = None
    auth: str = "AuthHeader"

    def through(self, service: str) -> Actor:
        """The same identity when an AWS service makes the call on its behalf."""
        return Actor({**self.identity, "invokedBy": service}, service, service)


class Calls(NamedTuple):
    """Requests of one actor to one API and bucket: `keys[i]` (a prefix, where it lists) at epoch second `times[i]`.

    destination: the bucket copies went to. home: where the records are delivered, for a bucket that `BUCKETS` lacks.
    """

    actor: Actor
    api: str
    bucket: str
    keys: Sequence[str]
    times: I64
    error: str | None = None
    destination: str | None = None
    home: Partition | None = None

    @property
    def delivered_for(self) -> Partition:
        """Account and region whose files the records are in."""
        return self.home or BUCKETS[self.destination or self.bucket]


@dataclass(frozen=True, slots=True)
class Role:
    """An IAM role. `path` begins and ends with a slash."""

    account: str
    path: str
    name: str

    @property
    def role_id(self) -> str:
        return token("AROA", 21, self.account, self.path, self.name)

    @property
    def arn(self) -> str:
        return f"arn:aws:iam::{self.account}:role{self.path}{self.name}"

    def session_arn(self, session_name: str) -> str:
        """The ARN of a session: AWS drops the role's path here."""
        return f"arn:aws:sts::{self.account}:assumed-role/{self.name}/{session_name}"

    def session(self, session_name: str, issued_at: int, *, mfa: bool = False, issued_to: str = "") -> Record:
        """The userIdentity of a session whose credentials were issued at this epoch second.

        issued_to: what AWS made them for, as a rule's `issued_to` has it: `ec2`, `web identity`, or a type such as
        `AWS::Lambda::Function`.
        """
        known: dict[str, Record] = {
            "ec2": {"ec2RoleDelivery": "2.0"},
            "web identity": {"webIdFederationData": {"federatedProvider": self._provider, "attributes": {}}},
        }
        made = known.get(issued_to, {})
        scope = {"inScopeOf": self._scope(issued_to)} if issued_to and not made else {}
        return {
            "type": "AssumedRole",
            "principalId": f"{self.role_id}:{session_name}",
            "arn": self.session_arn(session_name),
            "accountId": self.account,
            "accessKeyId": token("ASIA", 20, self.role_id, session_name, issued_at),
            "sessionContext": {
                "sessionIssuer": {
                    "type": "Role",
                    "principalId": self.role_id,
                    "arn": self.arn,
                    "accountId": self.account,
                    "userName": self.name,
                },
                "attributes": {"creationDate": iso(issued_at), "mfaAuthenticated": "true" if mfa else "false"},
                **made,
            },
            **scope,
        }

    @property
    def _provider(self) -> str:
        """The identity provider of a cluster."""
        cluster = token("", 32, "cluster", self.account)
        return f"arn:aws:iam::{self.account}:oidc-provider/oidc.eks.us-east-1.amazonaws.com/id/{cluster}"

    def _scope(self, issuer: str) -> Record:
        source = f"arn:aws:lambda:us-east-1:{self.account}:function:{self.name[-64:]}"
        return {
            "sourceArn": source, "sourceAccount": self.account, "issuerType": issuer, "credentialsIssuedTo": source,
        }  # fmt: skip


@cache
def token(prefix: str, length: int, *parts: object) -> str:
    """An id of this length in AWS's alphabet, A-Z and 2-7: a pure function of the parts."""
    digest = hashlib.blake2b(repr(parts).encode(), digest_size=20).digest()
    return (prefix + base64.b32encode(digest).decode())[:length]


def object_bytes(key: str) -> int:
    """Size of an object: the same at every read, as long as nobody writes it anew."""
    return int(object_sizes([key])[0])


def object_sizes(keys: Sequence[str]) -> I64:
    """Sizes of many objects."""
    sums = np.fromiter(map(zlib.crc32, map(_encode, keys)), np.int64, len(keys))
    return 40_000 + sums % 400_000


_encode = methodcaller("encode", "utf-8", "surrogatepass")


def uuids(rng: np.random.Generator, count: int) -> list[str]:
    """So many random (version 4) UUIDs."""
    raw = np.frombuffer(bytearray(rng.bytes(16 * count)), np.uint8).reshape(count, 16)
    raw[:, 6] = raw[:, 6] & 0x0F | 0x40
    raw[:, 8] = raw[:, 8] & 0x3F | 0x80
    text = raw.tobytes().hex()
    cut = (text[i : i + 32] for i in range(0, len(text), 32))
    return [f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}" for h in cut]


def records(calls: Calls, rng: np.random.Generator) -> list[Record]:
    """One record a request, in the order of the calls."""
    count = len(calls.keys)
    api, host = APIS[calls.api], _host(calls)
    shared = uuids(rng, count) if calls.actor.identity["type"] == "AWSAccount" else None
    event_ids = uuids(rng, count)
    request_ids = REQUEST_ALPHABET[np.frombuffer(rng.bytes(16 * count), np.uint8) % 32].tobytes().decode()
    host_ids = base64.b64encode(rng.bytes(57 * count)).decode()
    stamps = np.datetime_as_string(calls.times.astype("datetime64[s]")).tolist()
    same = _same_in_all(calls, api, host)
    made = []
    for i, key in enumerate(calls.keys):
        record = {
            **same,
            "eventTime": stamps[i] + "Z",
            "requestParameters": _parameters(calls, api, host, key),
            "additionalEventData": _additional(calls, api, key, host_ids[76 * i : 76 * i + 75] + "="),
            "requestID": request_ids[16 * i : 16 * i + 16],
            "eventID": event_ids[i],
            "resources": _resources(calls, api, key),
        }
        if shared:
            # The caller's own trail gets a copy with another eventID; only this id is common to both.
            record["sharedEventID"] = shared[i]
        made.append(record)
    return made


def _host(calls: Calls) -> str:
    return f"{calls.destination or calls.bucket}.s3.{calls.delivered_for.region}.amazonaws.com"


def _same_in_all(calls: Calls, api: Api, host: str) -> Record:
    """The fields that do not differ between the calls; None holds the place of those that do."""
    actor, home = calls.actor, calls.delivered_for
    error = {"errorCode": calls.error, "errorMessage": MESSAGES[calls.error]} if calls.error else {}
    endpoint = {"vpcEndpointId": actor.vpc_endpoint, "vpcEndpointAccountId": home.account} if actor.vpc_endpoint else {}
    # AWS services call from inside: their records carry no TLS details.
    tls = {"tlsVersion": "TLSv1.3", "cipherSuite": CIPHER, "clientProvidedHostHeader": host}
    outside = not actor.address.endswith(".amazonaws.com")
    return {
        "eventVersion": "1.11",
        "userIdentity": actor.identity,
        "eventTime": None,
        "eventSource": "s3.amazonaws.com",
        "eventName": calls.api,
        "awsRegion": home.region,
        "sourceIPAddress": actor.address,
        "userAgent": actor.agent if not outside else f"[{actor.agent}]",
        **error,
        "requestParameters": None,
        "responseElements": {"x-amz-server-side-encryption": "AES256"} if api.bytes_in and not calls.error else None,
        "additionalEventData": None,
        "requestID": None,
        "eventID": None,
        "readOnly": api.read_only,
        "resources": None,
        "eventType": "AwsApiCall",
        "managementEvent": False,
        "recipientAccountId": home.account,
        **endpoint,
        "eventCategory": "Data",
        **({"tlsDetails": tls} if outside else {}),
    }


def _parameters(calls: Calls, api: Api, host: str, key: str) -> Record:
    name = "prefix" if api.lists else "key"
    copied = {"x-amz-copy-source": quote(f"{calls.bucket}/{key}")} if calls.destination else {}
    return {"bucketName": calls.destination or calls.bucket, "Host": host, name: key, **copied, **api.parameters}


def _additional(calls: Calls, api: Api, key: str, host_id: str) -> Record:
    size = object_bytes(key)
    sent = ERROR_BODY_BYTES if calls.error else size * api.bytes_out
    encrypted = {} if calls.error or api.lists else {"SSEApplied": "Default_SSE_S3"}
    return {
        "SignatureVersion": "SigV4",
        "CipherSuite": CIPHER,
        "bytesTransferredIn": 0 if calls.error else size * api.bytes_in,
        **encrypted,
        "AuthenticationMethod": calls.actor.auth,
        "x-amz-id-2": host_id,
        "bytesTransferredOut": sent,
    }


def _resources(calls: Calls, api: Api, key: str) -> list[Record]:
    bucket = f"arn:aws:s3:::{calls.destination or calls.bucket}"
    what = {"ARNPrefix": f"{bucket}/"} if api.lists else {"ARN": f"{bucket}/{key}"}
    return [
        {"type": "AWS::S3::Object", **what},
        {"accountId": calls.delivered_for.account, "type": "AWS::S3::Bucket", "ARN": bucket},
    ]


@dataclass(frozen=True)
class LogFile:
    """One file of a trail: its key in the log bucket, when it arrived there, what it holds."""

    name: str
    delivered_at: int
    records: list[Record]

    @property
    def data(self) -> bytes:
        """The file's bytes; packed anew at every call."""
        return gzip.compress(msgspec.json.encode({"Records": self.records}), 3, mtime=0)


class Delivery:
    """Sorts the calls of one slot after the other into the files that CloudTrail would deliver them in.

    Each partition has a file every `SLOT` seconds, at a phase of its own. Calls may be taken in any order as long as
    none is older than the last `until`.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._waiting: dict[tuple[int, Partition], list[Record]] = defaultdict(list)

    def take(self, calls: Calls, rng: np.random.Generator) -> None:
        """Make the calls' records and lay each into a file 60 to 420 s ahead; few of them into a second one."""
        if not len(calls.keys):
            return
        home = calls.delivered_for
        phase = _phase(home)
        due = -(-(calls.times + DELAY[0] - phase) // SLOT) * SLOT + phase
        tardy = rng.random(len(due)) < 0.5
        due += SLOT * (tardy & (due + SLOT <= calls.times + DELAY[1]))
        chance = rng.random(len(due))
        again = np.where(chance < DUPLICATE_SHARE, due + SLOT * (chance < DUPLICATE_SHARE / 2), 0)
        for record, at, twice in zip(records(calls, rng), due.tolist(), again.tolist(), strict=True):
            self._waiting[at, home].append(record)
            if twice:
                self._waiting[twice, home].append(record)

    def until(self, second: int) -> Iterator[LogFile]:
        """The files that no call from this second on can still get into."""
        for due in sorted(d for d in self._waiting if d[0] < second + DELAY[0]):
            yield self._file(*due, self._waiting.pop(due))

    def rest(self) -> Iterator[LogFile]:
        """All that is still waiting."""
        for due in sorted(self._waiting):
            yield self._file(*due, self._waiting.pop(due))

    def _file(self, at: int, home: Partition, held: list[Record]) -> LogFile:
        order = np.random.default_rng((self._seed, at, _phase(home))).permutation(len(held))
        return LogFile(file_name(home, at, self._seed), at, [held[i] for i in order.tolist()])


def _phase(home: Partition) -> int:
    """Seconds past the full slot at which a partition's files are written."""
    known = PARTITIONS.index(home) if home in PARTITIONS else zlib.crc32(repr(home).encode())
    return 97 * known % SLOT


def file_name(home: Partition, delivered_at: int, seed: int = 0) -> str:
    """The key CloudTrail gives a file of a partition; `seed` goes into its unique part."""
    at = datetime.fromtimestamp(delivered_at, UTC)
    folder = f"AWSLogs/{home.account}/CloudTrail/{home.region}/{at:%Y/%m/%d}"
    unique = token("", 16, home, delivered_at, seed)
    return f"{folder}/{home.account}_CloudTrail_{home.region}_{at:%Y%m%dT%H%MZ}_{unique}.json.gz"


def write(folder: Path, files: Iterable[LogFile]) -> list[Path]:
    """Write the files below the folder under their names; a reader of the folder never sees half a file."""
    written = []
    for file in files:
        path = folder / file.name
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_name(f"{path.name}.part")
        part.write_bytes(file.data)
        written.append(part.rename(path))
    return written
