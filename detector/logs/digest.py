"""CloudTrail's digest files: what they say of log files, whether CloudTrail signed them, how they hang together. Pure.

Rules of this file
- A digest's signature is not in it, but in its object's metadata, which a copy loses. The next digest of the chain has
  it too (`previousDigestSignature`), and so only the last one of a chain may be left without.
- A digest is `verified` if CloudTrail's key made its signature, or if a verified one that follows has its hash. It is
  `invalid` if a verified one that follows says otherwise: the AWS CLI does not look at `previousDigestHashValue`.
- What a digest that is not verified says of others is a hint and accuses nobody.
- Digest files are hostile text until verified: they are bounded before they are decoded, and no path is made of them.

Source: AWS CloudTrail user guide, "CloudTrail digest file structure", "Custom implementations of log file validation".
"""
# ruff: noqa: N815  fields are spelled as CloudTrail spells them

from __future__ import annotations

import base64
import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from detector.core.times import epoch
from detector.errors import InputError
from detector.logs.nesting import shallow

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

DIGEST = re.compile(
    r"(?:^|/)([0-9]{12})_CloudTrail-Digest_([a-z0-9-]{1,30})_([^/]{1,200})_([a-z0-9-]{1,30})_"
    r"[0-9]{8}T[0-9]{6}Z(_backfill)?\.json(?:\.gz)?$"
)
"""Account, region, trail, the trail's home region, backfill."""
ALGORITHM, HASH = "SHA256withRSA", "SHA-256"
VERIFIED, INVALID, UNSIGNED, KEY_UNKNOWN = "verified", "invalid", "signature_unknown", "key_unknown"
LONGEST = 1024
"""Characters of an object's key."""
_SHA = re.compile(r"[0-9a-f]{64}")


class Entry(msgspec.Struct):
    """A log file that CloudTrail delivered. hashValue: SHA-256 of its content, inflated."""

    s3Object: str
    hashValue: str
    hashAlgorithm: str


class Digest(msgspec.Struct):
    """What a digest file says. The times are of delivery. All of the previous one is null in a chain's first."""

    digestStartTime: str
    digestEndTime: str
    digestS3Bucket: str
    digestS3Object: str
    digestPublicKeyFingerprint: str
    digestSignatureAlgorithm: str
    logFiles: list[Entry]
    previousDigestS3Bucket: str | None = None
    previousDigestS3Object: str | None = None
    previousDigestHashValue: str | None = None
    previousDigestSignature: str | None = None

    @property
    def place(self) -> str:
        """Where CloudTrail put it."""
        return f"{self.digestS3Bucket}/{self.digestS3Object}"

    @property
    def previous(self) -> str | None:
        """Where CloudTrail put the one before."""
        return f"{self.previousDigestS3Bucket}/{self.previousDigestS3Object}" if self.previousDigestS3Object else None

    @property
    def start(self) -> int:
        """Epoch seconds."""
        return epoch(self.digestStartTime) or 0

    @property
    def end(self) -> int:
        """Epoch seconds."""
        return epoch(self.digestEndTime) or 0

    def to_sign(self, sha: str) -> bytes:
        """What CloudTrail signs. sha: of the file's content, inflated."""
        signature = self.previousDigestSignature or "null"
        return f"{self.digestEndTime}\n{self.place}\n{sha}\n{signature}".encode("utf-8", "surrogatepass")


class Chain(NamedTuple):
    """The digests of one trail in one region; those of events that came later by themselves."""

    account: str
    region: str
    trail: str
    home_region: str
    backfill: bool


class Problem(NamedTuple):
    """What is wrong: a word for programs, the file, and a sentence."""

    what: str
    file: str
    detail: str


class Gap(NamedTuple):
    """No digest is there for files delivered in this time (epoch seconds)."""

    chain: Chain
    start: int
    end: int
    why: str


@dataclass(slots=True)
class DigestFile:
    """A digest as it was found, its log files in short.

    name: the file. sha: of its content. signature: out of the object's metadata. stems: of its log files, with a slash
    between. shas: their SHA-256, 32 bytes each.
    """

    name: str
    digest: Digest
    sha: str
    signature: str | None
    stems: str
    shas: bytes
    status: str = UNSIGNED

    @property
    def listed(self) -> list[str]:
        """The stems of its log files."""
        return self.stems.split("/") if self.shas else []

    @property
    def chain(self) -> Chain:
        """The chain it says it belongs to."""
        told = DIGEST.search(self.digest.digestS3Object)
        if told is None:
            raise ValueError("it does not say of which trail it is")
        return Chain(told[1], told[2], told[3], told[4], backfill=told[5] is not None)


def read(content: bytes, name: str, signature: str | None = None) -> DigestFile:
    """A digest file from its content, inflated. Raises ValueError with the reason."""
    try:
        digest = msgspec.json.decode(shallow(content), type=Digest)
    except ValueError as error:  # of JSON, of UTF-8
        raise ValueError(f"no digest: {error}") from error
    if epoch(digest.digestStartTime) is None or epoch(digest.digestEndTime) is None:
        raise ValueError("no digest: its times are none")
    if any(len(key) > LONGEST for key in (digest.digestS3Object, *(entry.s3Object for entry in digest.logFiles))):
        raise ValueError(f"it names an object by more than {LONGEST:,} characters, which S3 does not take")
    if any(e.hashAlgorithm != HASH or not _SHA.fullmatch(e.hashValue) for e in digest.logFiles):
        raise ValueError(f"it has hashes that are not {HASH}")
    stems = "/".join(stem(entry.s3Object) for entry in digest.logFiles)
    shas = bytes.fromhex("".join(entry.hashValue for entry in digest.logFiles))
    digest.logFiles = []
    file = DigestFile(name, digest, hashlib.sha256(content).hexdigest(), signature, stems, shas)
    if stem(digest.digestS3Object) != stem(name):
        raise ValueError(f"another digest under this name, or moved: it says it is {digest.place}")
    file.chain  # noqa: B018  raises ValueError
    return file


def stem(name: str) -> str:
    """A file's own name: alike wherever it lies, and whether it is still packed."""
    return name.rpartition("/")[2].removesuffix(".gz")


@dataclass(slots=True)
class Keys:
    """CloudTrail's public keys: by fingerprint, and those of which it is not known."""

    named: dict[str, RSAPublicKey] = field(default_factory=dict)
    unnamed: list[RSAPublicKey] = field(default_factory=list)

    def add(self, content: bytes, where: str) -> None:
        """Take in a file: what `aws cloudtrail list-public-keys` printed, or a key as PEM or DER. Raises InputError."""
        if content.lstrip().startswith(b"{"):
            for fingerprint, value in _listed(content, where):
                self.named[fingerprint] = _key(value, where)
        else:
            self.unnamed.append(_key(content, where))

    def put(self, fingerprint: str, value: bytes) -> None:
        """Take in a key (DER) that CloudTrail named."""
        self.named[fingerprint] = _key(value, f"key {fingerprint}")

    def judge(self, file: DigestFile, signature: str) -> str:
        """Whether this signature of a digest is CloudTrail's."""
        named = self.named.get(file.digest.digestPublicKeyFingerprint)
        if file.digest.digestSignatureAlgorithm != ALGORITHM:
            return INVALID
        if named is None and not self.unnamed:
            return KEY_UNKNOWN
        message = file.digest.to_sign(file.sha)
        return (
            VERIFIED if any(_signed(k, signature, message) for k in ([named] if named else self.unnamed)) else INVALID
        )


class _PublicKey(msgspec.Struct):
    Value: str
    Fingerprint: str


class _PublicKeys(msgspec.Struct):
    PublicKeyList: list[_PublicKey]


def _listed(content: bytes, where: str) -> Iterator[tuple[str, bytes]]:
    try:
        for key in msgspec.json.decode(shallow(content), type=_PublicKeys).PublicKeyList:
            yield key.Fingerprint, base64.b64decode(key.Value, validate=True)
    except ValueError as error:  # of JSON, of UTF-8, of base64
        raise InputError(
            f"no list of public keys: {error}", where=where, remedy="give what aws cloudtrail list-public-keys prints"
        ) from error


def _key(content: bytes, where: str) -> RSAPublicKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
    from cryptography.hazmat.primitives.serialization import load_der_public_key, load_pem_public_key

    try:
        key = (load_pem_public_key if b"-----BEGIN" in content else load_der_public_key)(content)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(
            f"no public key: {error}", where=where, remedy="give RSA keys as PEM, or as DER (PKCS #1)"
        ) from error
    if not isinstance(key, RSAPublicKey):
        raise InputError("a public key, but not of RSA", where=where, remedy="CloudTrail signs with RSA")
    return key


def _signed(key: RSAPublicKey, signature: str, message: bytes) -> bool:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.hashes import SHA256

    try:
        key.verify(bytes.fromhex(signature), message, PKCS1v15(), SHA256())
    except (InvalidSignature, ValueError):
        return False
    return True


def judge(files: Iterable[DigestFile], keys: Keys) -> tuple[list[Problem], list[Gap]]:
    """Find every file's status; what is wrong with them, and where digests are missing."""
    problems, gaps = list[Problem](), list[Gap]()
    chains: dict[Chain, list[DigestFile]] = defaultdict(list)
    for file in files:
        chains[file.chain].append(file)
    for chain in sorted(chains):
        members = sorted(chains[chain], key=lambda file: (file.digest.end, file.digest.place, file.name))
        problems += _statuses(members, keys)
        told, missing = _links(chain, members)
        problems += told
        gaps += missing
    return problems, gaps


def _statuses(members: Sequence[DigestFile], keys: Keys) -> Iterator[Problem]:
    """From the newest on, since those that follow a digest speak of it."""
    followers: dict[str | None, list[DigestFile]] = defaultdict(list)
    for file in reversed(members):
        after = followers[file.digest.place]
        file.status, detail = _status(file, after, keys)
        if file.status in (INVALID, KEY_UNKNOWN):
            yield Problem(f"digest_{file.status}", file.name, detail)
        followers[file.digest.previous].append(file)


def _status(file: DigestFile, after: Sequence[DigestFile], keys: Keys) -> tuple[str, str]:
    verified = [one for one in after if one.status == VERIFIED]
    for one in verified:
        if one.digest.previousDigestHashValue != file.sha:
            return INVALID, f"not what it was: its SHA-256 is not the one that the next digest, {one.name}, has of it"
    hints = [s for one in after if (s := one.digest.previousDigestSignature)]
    binding = [s for one in verified if (s := one.digest.previousDigestSignature)]
    binding += [file.signature] if file.signature else []
    judged = {signature: keys.judge(file, signature) for signature in [*binding, *hints]}
    if INVALID in (judged[signature] for signature in binding):
        return INVALID, "CloudTrail did not sign this: its signature does not fit its content"
    if VERIFIED in judged.values() or verified:
        return VERIFIED, ""
    if KEY_UNKNOWN in judged.values():
        return KEY_UNKNOWN, f"no key with the fingerprint {file.digest.digestPublicKeyFingerprint} is known"
    return UNSIGNED, ""


def _links(chain: Chain, members: Sequence[DigestFile]) -> tuple[list[Problem], list[Gap]]:
    """Whether each digest follows the one before it."""
    problems, gaps = list[Problem](), list[Gap]()
    places = {file.digest.place for file in members}
    for before, file in pairwise(members):
        digest, last = file.digest, before.digest
        if digest.place == last.place:
            if file.sha != before.sha:
                problems.append(Problem("digest_twice", file.name, f"differs from {before.name}, of the same name"))
        elif digest.previous is None:
            gaps.append(Gap(chain, last.end, digest.start, "logging or its validation was stopped: a new chain begins"))
        elif digest.previous not in places:
            named = stem(digest.previousDigestS3Object or "")
            problems.append(Problem("digest_missing", named, f"{file.name} names it as the one before"))
            gaps.append(Gap(chain, last.end, digest.start, f"the digest {named} is missing"))
        elif digest.previous != last.place:
            problems.append(Problem("digest_unlinked", before.name, f"{file.name} follows another one"))
        elif digest.start > last.end:
            gaps.append(Gap(chain, last.end, digest.start, "neither of two digests that follow each other tells of it"))
    return problems, gaps
