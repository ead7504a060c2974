"""`replay --verify-digests`: a chain signed as CloudTrail signs one, and every single fault in it found and named."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import shutil
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from detector.cli import app
from detector.errors import InputError
from detector.logs.digest import Keys, judge, read
from replay.digests import HEAD, keys_of, lines, verify

ACCOUNT, REGION, BUCKET = "111122223333", "eu-west-1", "trail-logs"
T0 = int(datetime(2026, 5, 1, 9, tzinfo=UTC).timestamp())
HOURS, EACH = 4, 3
PUBLIC = serialization.PublicFormat


def pair():
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


TRUE, FALSE = pair(), pair()


def der(key):
    return key.public_key().public_bytes(serialization.Encoding.DER, PUBLIC.PKCS1)


def pem(key):
    return key.public_key().public_bytes(serialization.Encoding.PEM, PUBLIC.SubjectPublicKeyInfo)


FINGERPRINT = hashlib.md5(der(TRUE)).hexdigest()


def listed(*keys):
    """As `aws cloudtrail list-public-keys` prints it."""
    rows = [(hashlib.md5(der(key)).hexdigest(), base64.b64encode(der(key)).decode()) for key in keys]
    return json.dumps({"PublicKeyList": [{"Fingerprint": of, "Value": value} for of, value in rows]})


def stamp(second, form="%Y-%m-%dT%H:%M:%SZ"):
    return datetime.fromtimestamp(second, UTC).strftime(form)


def log_key(second):
    day, minute = stamp(second, "%Y/%m/%d"), stamp(second, "%Y%m%dT%H%MZ")
    return f"AWSLogs/{ACCOUNT}/CloudTrail/{REGION}/{day}/{ACCOUNT}_CloudTrail_{REGION}_{minute}_{second}.json.gz"


def digest_key(end, backfill=""):
    day, at = stamp(end, "%Y/%m/%d"), stamp(end, "%Y%m%dT%H%M%SZ")
    name = f"{ACCOUNT}_CloudTrail-Digest_{REGION}_my_trail_us-east-1_{at}{backfill}.json.gz"
    return f"AWSLogs/{ACCOUNT}/CloudTrail-Digest/{REGION}/{day}/{name}"


class Archive:
    """Log files and digests of so many hours, signed link by link. `signatures`: what S3 has as metadata."""

    def __init__(self, folder, hours=HOURS, *, key=TRUE, backfill=""):
        self.folder, self.digests, self.logs, self.signatures = folder, [], [], {}
        previous = None
        for hour in range(hours):
            start = T0 + hour * 3600
            logs = [self.log(start + 60 + 600 * number) for number in range(EACH)] if hour != 1 else []
            previous = self.sign(self.body(start, logs, previous, backfill), previous, key)

    def log(self, second):
        record = {"eventVersion": "1.11", "eventTime": stamp(second), "eventSource": "s3.amazonaws.com",
                  "eventName": "GetObject", "awsRegion": REGION, "eventID": str(second), "eventType": "AwsApiCall",
                  "recipientAccountId": ACCOUNT, "userIdentity": {"type": "IAMUser", "arn": "arn:aws:iam::1:user/d"},
                  "requestParameters": {"bucketName": "ml-voice", "key": f"raw/{second}"}}  # fmt: skip
        content = json.dumps({"Records": [record]}).encode()
        self.put(log_key(second), content)
        self.logs.append(log_key(second))
        return {"s3Bucket": BUCKET, "s3Object": log_key(second), "hashAlgorithm": "SHA-256",
                "hashValue": hashlib.sha256(content).hexdigest(), "newestEventTime": None}  # fmt: skip

    def body(self, start, logs, previous, backfill="", **other):
        key, sha = (None, None) if previous is None else (previous, hashlib.sha256(self.get(previous)).hexdigest())
        return {
            "awsAccountId": ACCOUNT, "digestStartTime": stamp(start), "digestEndTime": stamp(start + 3600),
            "digestS3Bucket": BUCKET, "digestS3Object": digest_key(start + 3600, backfill),
            "digestPublicKeyFingerprint": FINGERPRINT, "digestSignatureAlgorithm": "SHA256withRSA",
            "newestEventTime": None, "oldestEventTime": None, "previousDigestS3Bucket": key and BUCKET,
            "previousDigestS3Object": key, "previousDigestHashValue": sha,
            "previousDigestHashAlgorithm": key and "SHA-256", "previousDigestSignature": key and self.signatures[key],
            "logFiles": logs, **other,
        }  # fmt: skip

    def sign(self, body, previous=None, key=TRUE):
        """By an own wording of the string to sign."""
        content = json.dumps(body).encode()
        lines = [body["digestEndTime"], f"{BUCKET}/{body['digestS3Object']}", hashlib.sha256(content).hexdigest(),
                 self.signatures[previous] if previous else "null"]  # fmt: skip
        made = key.sign("\n".join(lines).encode(), padding.PKCS1v15(), hashes.SHA256()).hex()
        name = body["digestS3Object"]
        self.signatures[name] = made
        self.put(name, content)
        self.digests += [name] if name not in self.digests else []
        return name

    def path(self, key):
        return self.folder / key

    def put(self, key, content):
        self.path(key).parent.mkdir(parents=True, exist_ok=True)
        self.path(key).write_bytes(gzip.compress(content, mtime=0))

    def get(self, key):
        return gzip.decompress(self.path(key).read_bytes())

    def head(self, key, **metadata):
        """What `aws s3api head-object` printed, beside the digest."""
        told = {"Metadata": {"signature": self.signatures[key], "signature-algorithm": "SHA256withRSA"} | metadata}
        self.path(key).with_name(self.path(key).name + HEAD).write_text(json.dumps(told))

    def rewrite(self, key, **changed):
        self.put(key, json.dumps(json.loads(self.get(key)) | changed).encode())


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("archive")
    return folder, Archive(folder)


@pytest.fixture
def archive(made, tmp_path):
    folder, whole = made
    shutil.copytree(folder, tmp_path / "logs")
    copy = Archive(tmp_path / "logs", 0)
    copy.digests, copy.logs, copy.signatures = [*whole.digests], [*whole.logs], dict(whole.signatures)
    copy.head(copy.digests[-1])
    return copy


def told(archive, *keys, jobs=1):
    folder = archive.folder.parent / "keys"
    folder.mkdir(exist_ok=True)
    (folder / "keys.json").write_text(listed(*(keys or (TRUE,))))
    return verify([str(archive.folder)], lambda _: keys_of(folder), jobs=jobs)


def faults(found):
    return [(one["what"], one["file"].rpartition("/")[2]) for one in found["problems"]]


def name(key):
    return key.rpartition("/")[2]


def stem(key):
    return name(key).removesuffix(".gz")


def test_a_whole_archive_is_verified(archive):
    """The second hour had no events: its digest lists nothing, and is there."""
    found = told(archive)
    assert found["ok"]
    assert found["digests"] == {"verified": HOURS, "invalid": 0, "signature_unknown": 0, "key_unknown": 0}
    assert {k: v for k, v in found["log_files"].items() if v} == {"verified": (HOURS - 1) * EACH}
    (chain,) = found["chains"]
    assert (chain["trail"], chain["home_region"], chain["begins"]) == ("my_trail", "us-east-1", True)
    assert (chain["from"], chain["until"]) == (stamp(T0), stamp(T0 + HOURS * 3600))
    assert told(archive, jobs=2) == found


def test_without_metadata_only_the_last_digest_is_unproven(archive):
    """The others' signatures are in those that follow. What the last one lists is unproven, and that is no fault."""
    archive.path(archive.digests[-1] + HEAD).unlink()
    found = told(archive)
    assert found["ok"]
    assert (found["digests"]["verified"], found["digests"]["signature_unknown"]) == (HOURS - 1, 1)
    assert (found["log_files"]["verified"], found["log_files"]["unproven"]) == ((HOURS - 2) * EACH, EACH)
    assert "head-object" in lines(found)[-1]


def change_log(a):
    a.put(a.logs[2], b'{"Records":[]}')
    return [("log_changed", name(a.logs[2]))]


def break_log(a):
    a.path(a.logs[2]).write_bytes(a.path(a.logs[2]).read_bytes()[:-20])
    return [("log_changed", name(a.logs[2]))]


def swap_logs(a):
    one, other = a.get(a.logs[0]), a.get(a.logs[1])
    a.put(a.logs[0], other)
    a.put(a.logs[1], one)
    return [("log_changed", name(a.logs[0])), ("log_changed", name(a.logs[1]))]


def remove_log(a):
    a.path(a.logs[4]).unlink()
    return [("log_missing", stem(a.logs[4]))]


def add_log(a):
    a.put(log_key(T0 + 1800), b'{"Records":[]}')
    return [("log_unlisted", name(log_key(T0 + 1800)))]


def change_digest(a):
    """Somebody hides a log file: from the digest, and from the folder."""
    a.rewrite(a.digests[0], logFiles=json.loads(a.get(a.digests[0]))["logFiles"][1:])
    return [("digest_invalid", name(a.digests[0]))]


def change_last_digest(a):
    a.rewrite(a.digests[-1], newestEventTime=stamp(T0))
    return [("digest_invalid", name(a.digests[-1]))]


def remove_digest(a):
    a.path(a.digests[1]).unlink()
    return [("digest_missing", stem(a.digests[1]))]


def swap_digests(a):
    one, other = a.get(a.digests[0]), a.get(a.digests[2])
    a.put(a.digests[0], other)
    a.put(a.digests[2], one)
    return [("digest_invalid", name(a.digests[0])), ("digest_invalid", name(a.digests[2]))]


def sign_with_another_key(a):
    """The fingerprint is the true key's."""
    body = json.loads(a.get(a.digests[-1]))
    a.sign(body, a.digests[-2], FALSE)
    a.head(a.digests[-1])
    return [("digest_invalid", name(a.digests[-1]))]


def sign_with_a_key_nobody_knows(a):
    body = json.loads(a.get(a.digests[-1])) | {"digestPublicKeyFingerprint": "f" * 32}
    a.sign(body, a.digests[-2], FALSE)
    a.head(a.digests[-1])
    return [("digest_key_unknown", name(a.digests[-1]))]


def wrong_hash_of_previous(a):
    """Its own signature is right: the AWS CLI calls this valid."""
    body = json.loads(a.get(a.digests[-1])) | {"previousDigestHashValue": "0" * 64}
    a.sign(body, a.digests[-2])
    a.head(a.digests[-1])
    return [("digest_invalid", name(a.digests[-2]))]


def another_algorithm(a):
    body = json.loads(a.get(a.digests[-1])) | {"digestSignatureAlgorithm": "none"}
    a.sign(body, a.digests[-2])
    a.head(a.digests[-1])
    return [("digest_invalid", name(a.digests[-1]))]


def wrong_metadata(a):
    a.head(a.digests[1], signature="ab" * 256)
    return [("digest_invalid", name(a.digests[1]))]


def twice_and_different(a):
    a.put(f"copy/{name(a.digests[1])}", json.dumps(json.loads(a.get(a.digests[1])) | {"x": 1}).encode())
    return [("digest_invalid", name(a.digests[1])), ("digest_twice", name(a.digests[1]))]


def fork(a):
    """Signed as it should be, and no other follows it."""
    a.sign(a.body(T0 + 1800, [], a.digests[0]), a.digests[0])
    a.head(a.digests[-1])
    return [("digest_unlinked", name(a.digests[-1]))]


@pytest.mark.parametrize(
    "fault",
    [
        change_log, break_log, swap_logs, remove_log, add_log, change_last_digest, change_digest, remove_digest,
        swap_digests, sign_with_another_key, sign_with_a_key_nobody_knows, wrong_hash_of_previous, another_algorithm,
        wrong_metadata, twice_and_different, fork,
    ],
)  # fmt: skip
def test_a_single_fault_is_found_and_named(archive, fault):
    named = fault(archive)
    found = told(archive)
    assert not found["ok"]
    assert set(named) <= set(faults(found))
    assert found["problems_count"] == len(found["problems"])
    blamed = {file.removesuffix(".gz") for _, file in faults(found)} - {file.removesuffix(".gz") for _, file in named}
    assert blamed <= consequences(archive, fault)


def consequences(a, fault):
    """What else is named: what a lost digest listed, and a digest lost under another's name."""
    return {
        change_digest: {stem(a.logs[0])},
        remove_digest: set(),
        swap_digests: {stem(key) for key in [*a.logs, *a.digests]},
    }.get(fault, set())


def test_a_removed_digest_is_a_gap(archive):
    """The log files delivered in it are not called foreign: no digest can say."""
    archive.path(archive.digests[2]).unlink()
    found = told(archive)
    assert [(gap["from"], gap["until"]) for gap in found["gaps"]] == [(stamp(T0 + 7200), stamp(T0 + 10_800))]
    assert found["log_files"]["uncovered"] == EACH
    assert faults(found) == [("digest_missing", stem(archive.digests[2]))]
    told_so = "\n".join(lines(found))
    assert f"gap {ACCOUNT}/{REGION} {stamp(T0 + 7200)} to {stamp(T0 + 10_800)}: the digest" in told_so
    assert f"{EACH} log files in no digest's time" in told_so


def test_validation_that_was_stopped_is_a_gap(archive):
    """A digest that names none before it, in the middle of a chain."""
    later = T0 + 7 * 3600
    archive.sign(archive.body(later, [archive.log(later + 60)], None))
    archive.head(archive.digests[-1])
    found = told(archive)
    assert not found["ok"]
    assert [(gap["from"], gap["until"], "stopped" in gap["why"]) for gap in found["gaps"]] == [
        (stamp(T0 + HOURS * 3600), stamp(later), True)
    ]
    assert faults(found) == []


def test_an_hour_that_no_link_of_a_whole_chain_tells_of_is_a_gap(archive):
    later = T0 + (HOURS + 1) * 3600
    archive.sign(archive.body(later, [], archive.digests[-1]), archive.digests[-1])
    archive.head(archive.digests[-1])
    found = told(archive)
    assert not found["ok"]
    assert [(gap["from"], gap["until"]) for gap in found["gaps"]] == [(stamp(later - 3600), stamp(later))]


def test_an_archive_that_begins_within_a_chain_is_no_fault(archive):
    archive.path(archive.digests[0]).unlink()
    found = told(archive)
    assert found["ok"]
    assert not found["chains"][0]["begins"]
    assert found["log_files"]["uncovered"] == EACH


def test_backfilled_digests_are_a_chain_of_their_own(archive):
    late = Archive(archive.folder, 0)
    late.sign(late.body(T0, [late.log(T0 + 30)], None, "_backfill"))
    late.head(late.digests[0])
    found = told(archive)
    assert found["ok"]
    assert [chain["backfill"] for chain in found["chains"]] == [False, True]


def test_an_archive_may_lie_anywhere_and_be_unpacked(archive, tmp_path):
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for key in [*archive.digests, *archive.logs]:
        (moved / stem(key)).write_bytes(archive.get(key))
    shutil.rmtree(archive.folder)
    archive.folder = moved
    assert told(archive)["ok"]


HOSTILE = {
    "long": json.dumps(
        {
            "digestStartTime": "2026-05-01",
            "digestEndTime": "2026-05-01",
            "digestS3Bucket": "b",
            "digestS3Object": f"/{ACCOUNT}_CloudTrail-Digest_a_a_a" * 100_000,
            "logFiles": [],
            "digestPublicKeyFingerprint": "",
            "digestSignatureAlgorithm": "",
        }
    ).encode(),
    "deep": b'{"logFiles":' + b"[" * 200_000,
    "no json": b"\xff\xfe{",
    "no digest": b"{}",
    "hash": json.dumps({"logFiles": [{"s3Object": "x", "hashValue": "zz", "hashAlgorithm": "SHA-256"}]}).encode(),
    "bomb": b" " * (65 << 20),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_digest_is_named_and_stops_nothing(archive, what):
    archive.put(archive.digests[1], HOSTILE[what])
    archive.head(archive.digests[0])  # what the hostile one had to say of it is lost
    found = told(archive)
    assert ("digest_invalid", name(archive.digests[1])) in faults(found)
    assert (found["digests"]["verified"], found["log_files"]["verified"]) == (HOURS - 1, (HOURS - 1) * EACH)


def test_a_digest_that_names_paths_outside_reads_nothing_there(archive, tmp_path):
    """It says a file of the machine is a log: it is looked for by its own name, among those found."""
    outside = tmp_path / "secret.json"
    outside.write_text("{}")
    entry = {"s3Bucket": BUCKET, "s3Object": f"../../../{outside}", "hashAlgorithm": "SHA-256",
             "hashValue": hashlib.sha256(b"{}").hexdigest()}  # fmt: skip
    last = archive.digests[-1]
    archive.sign(json.loads(archive.get(last)) | {"logFiles": [entry]}, archive.digests[-2])
    archive.head(last)
    assert ("log_missing", "secret.json") in faults(told(archive))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no public key"),
        (b'{"PublicKeyList": 3}', "no list of public keys"),
        (b'{"PublicKeyList": [{"Fingerprint": "a", "Value": "!"}]}', "no list of public keys"),
        (ec.generate_private_key(ec.SECP256R1()).public_key().public_bytes(
            serialization.Encoding.PEM, PUBLIC.SubjectPublicKeyInfo), "not of RSA"),
    ],
)  # fmt: skip
def test_what_is_no_key_is_the_users_mistake(tmp_path, content, said):
    (tmp_path / "key").write_bytes(content)
    with pytest.raises(InputError, match=said):
        keys_of(tmp_path / "key")


@given(st.binary(max_size=200), st.sampled_from(["", '{"PublicKeyList":[{"Fingerprint":"a","Value":"']))
def test_no_bytes_are_more_than_a_mistake_in_keys(content, before):
    with pytest.raises(InputError):
        Keys().add(before.encode() + content, "keys.json")


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.just(digest_key(T0)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
WHOLE = {
    "digestStartTime": stamp(T0), "digestEndTime": stamp(T0 + 3600), "digestS3Bucket": BUCKET,
    "digestS3Object": digest_key(T0), "digestPublicKeyFingerprint": FINGERPRINT,
    "digestSignatureAlgorithm": "SHA256withRSA", "logFiles": [], "previousDigestSignature": None,
}  # fmt: skip


@given(st.dictionaries(st.sampled_from(list(WHOLE)), anything, max_size=3), st.binary(max_size=3))
def test_whatever_a_digest_says_it_is_read_or_refused(changed, junk):
    """Never another error; and what is read can be judged, and is not verified."""
    content = json.dumps(WHOLE | changed).encode() + junk
    try:
        file = read(content, digest_key(T0), "ab" * 256)
    except ValueError:
        return
    keys = Keys(unnamed=[TRUE.public_key()])
    judge([file, read(json.dumps(WHOLE).encode(), digest_key(T0))], keys)
    assert file.status == "invalid"


def replay(archive, *options, env=None):
    out = archive.folder.parent / "out"
    args = ["replay", str(archive.folder), "--out", str(out), "--no-report", "--no-model", "--verify-digests"]
    result = CliRunner().invoke(app, [*args, *map(str, options)], env=env)
    return result, json.loads((out / "summary.json").read_text())["digests"] if (out / "summary.json").exists() else {}


def test_the_command_says_it_and_fails_with_status_3(archive, tmp_path):
    """Keys as PEM, of which nobody says which is which."""
    for number, key in enumerate((FALSE, TRUE)):
        (tmp_path / f"key-{number}.pem").write_bytes(pem(key))
    keys = tmp_path / "pems"
    keys.mkdir()
    for file in tmp_path.glob("*.pem"):
        file.rename(keys / file.name)
    good, found = replay(archive, "--digest-keys", keys)
    assert (good.exit_code, found["ok"]) == (0, True)
    assert "digests: 4 verified; log files: 9 verified" in good.output
    change_log(archive)
    bad, found = replay(archive, "--digest-keys", keys)
    assert (bad.exit_code, found["ok"]) == (3, False)
    assert f"log_changed {archive.folder / archive.logs[2]}" in bad.output


def test_without_digests_or_keys_nothing_is_claimed(archive, tmp_path):
    none, _ = replay(archive, "--digest-keys", tmp_path / "nowhere")
    assert none.exit_code != 0
    with pytest.raises(InputError, match="no CloudTrail digest files"):
        verify([str(archive.folder / "AWSLogs" / ACCOUNT / "CloudTrail")], lambda _: keys_of(tmp_path))


class Answers(BaseHTTPRequestHandler):
    """ListPublicKeys, in two pages."""

    asked: list = []  # noqa: RUF012

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.headers["X-Amz-Target"].rpartition(".")[2], self.headers["Authorization"], body))
        page = json.loads(listed(TRUE)) if "NextToken" in body else json.loads(listed(FALSE)) | {"NextToken": "more"}
        content = json.dumps(page).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def test_keys_are_asked_of_cloudtrail_in_the_digests_own_region(archive):
    server = HTTPServer(("127.0.0.1", 0), Answers)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        env = {"AWS_ENDPOINT_URL_CLOUDTRAIL": f"http://127.0.0.1:{server.server_port}", "AWS_ACCESS_KEY_ID": "a",
               "AWS_SECRET_ACCESS_KEY": "b", "AWS_REGION": "us-east-1"}  # fmt: skip
        result, found = replay(archive, env=env)
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert (result.exit_code, found["ok"]) == (0, True), result.output
    assert [call[0] for call in Answers.asked] == ["ListPublicKeys"] * 2
    assert f"/{REGION}/cloudtrail/" in Answers.asked[0][1]
    assert Answers.asked[0][2]["StartTime"] <= T0


def test_in_s3_the_signatures_are_in_the_objects_metadata(archive, aws):
    """All are proven then; a digest that somebody put anew in its place has lost its own."""
    s3, bucket = aws.client("s3"), aws.bucket()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(f"{__name__}.BUCKET", bucket)
        there = Archive(archive.folder.parent / "there")
    for key in [*there.digests, *there.logs]:
        metadata = {"signature": there.signatures[key]} if key in there.signatures else {}
        s3.put_object(Bucket=bucket, Key=key, Body=there.path(key).read_bytes(), Metadata=metadata)
    keys = Keys(unnamed=[TRUE.public_key()])
    found = verify([f"s3://{bucket}/AWSLogs"], lambda _: keys)
    assert found["ok"]
    assert (found["digests"]["verified"], found["log_files"]["verified"]) == (HOURS, (HOURS - 1) * EACH)
    last = there.digests[-1]
    s3.put_object(Bucket=bucket, Key=last, Body=there.path(last).read_bytes())
    found = verify([f"s3://{bucket}/AWSLogs"], lambda _: keys)
    assert faults(found) == [("digest_unsigned", name(last))]
    assert found["digests"]["signature_unknown"] == 1
