"""The generated organisation: deterministic, labelled truthfully, shaped and delivered as CloudTrail would."""

import gzip
import hashlib
import json
import re
from collections import Counter, defaultdict
from datetime import UTC, date, datetime, time
from itertools import chain, islice

import pytest

from detector.errors import InputError
from replay.drill.calls import BUCKETS, iso
from replay.example_day import Organisation, burst, smash_and_grab, write

DAY = date(2026, 5, 1)
MIDNIGHT = int(datetime(2026, 5, 1, tzinfo=UTC).timestamp())
NAME = re.compile(
    r"AWSLogs/(\d{12})/CloudTrail/([a-z0-9-]+)/2026/05/0[12]/\1_CloudTrail_\2_(\d{8}T\d{4})Z_[A-Za-z0-9]{16}\.json\.gz"
)
FIELDS = {
    *("eventVersion", "userIdentity", "eventTime", "eventSource", "eventName", "awsRegion", "sourceIPAddress"),
    *("userAgent", "requestParameters", "responseElements", "additionalEventData", "requestID", "eventID", "readOnly"),
    *("resources", "eventType", "managementEvent", "recipientAccountId", "eventCategory"),
}
SOMETIMES = {
    *("errorCode", "errorMessage", "sharedEventID", "vpcEndpointId", "vpcEndpointAccountId", "tlsDetails"),
}


@pytest.fixture(scope="module")
def robbed():
    return smash_and_grab(1, day=DAY)


@pytest.fixture(scope="module")
def files(robbed):
    return list(robbed.files())


@pytest.fixture(scope="module")
def distinct(files):
    """Every record once."""
    return list({r["eventID"]: r for file in files for r in file.records}.values())


def second(record):
    return int(datetime.fromisoformat(record["eventTime"]).timestamp())


def session(record):
    who = record["userIdentity"]
    return who.get("principalId") or who["invokedBy"]


def objects_read(records):
    """Per session its (second, object) pairs, in order of time."""
    reads = defaultdict(list)
    for r in records:
        if r["eventName"] == "GetObject" and "errorCode" not in r:
            reads[session(r)].append((second(r), r["resources"][0]["ARN"]))
    return {who: sorted(pairs) for who, pairs in reads.items()}


def most_objects(pairs, window=300):
    """The most distinct objects in any (t - window, t], by moving a window over every read."""
    inside, first, most = Counter(), 0, 0
    for at, name in pairs:
        inside[name] += 1
        while pairs[first][0] <= at - window:
            old = pairs[first][1]
            inside[old] -= 1
            if not inside[old]:
                del inside[old]
            first += 1
        most = max(most, len(inside))
    return most


def calls_of(files):
    """Per session what it asked for, whatever the ids of its records."""
    calls = defaultdict(Counter)
    for r in {r["eventID"]: r for file in files for r in file.records}.values():
        calls[session(r)][r["eventTime"], r["eventName"], str(r["resources"]), r.get("errorCode")] += 1
    return calls


def digest(files):
    return hashlib.sha256(b"".join(f.name.encode() + f.data for f in files)).hexdigest()


class TestDeterminism:
    def test_the_same_seed_gives_the_same_bytes(self):
        """Two organisations of one seed, and two walks of one, agree in every name and byte."""
        one, two = (smash_and_grab(5, day=DAY, principals=12, objects=100, at=time(1)) for _ in range(2))
        assert one.theft == two.theft
        assert digest(islice(one.files(), 60)) == digest(islice(two.files(), 60)) == digest(islice(one.files(), 60))

    def test_another_seed_gives_another_day(self):
        """The seed reaches the records."""
        one, two = (Organisation(seed, day=DAY, principals=12) for seed in (1, 2))
        assert digest(islice(one.files(), 10)) != digest(islice(two.files(), 10))

    def test_a_theft_changes_nobody_elses_day(self, files):
        """The others ask for the same at the same seconds with and without it, so that the two can be compared."""
        calm, robbed = calls_of(Organisation(1, day=DAY).files()), calls_of(files)
        assert calm.keys() == robbed.keys()
        assert [who.partition(":")[2] for who in calm if calm[who] != robbed[who]] == ["contractor-02"]


class TestTheft:
    def test_the_label_counts_the_sessions_objects(self, robbed, distinct):
        """objects: the distinct keys the session read from started_at on, for `seconds`."""
        theft = robbed.theft
        end = theft.started_at + theft.seconds
        read = {name for at, name in objects_read(distinct)[theft.principal_id] if theft.started_at <= at < end}
        assert len(read) == theft.objects == 24_000

    def test_the_thief_has_the_session_but_not_the_network(self, robbed, distinct):
        """Stolen credentials: the owner's ids and access key, from an address and with an agent he never has."""
        theft = robbed.theft
        own = [r for r in distinct if session(r) == theft.principal_id]
        stolen = [r for r in own if theft.started_at <= second(r) < theft.started_at + theft.seconds]
        honest = [r for r in own if r["sourceIPAddress"] != stolen[0]["sourceIPAddress"]]
        assert len(honest) + len(stolen) == len(own)
        assert {r["userIdentity"]["arn"] for r in own} == {theft.session}
        assert {r["userIdentity"]["sessionContext"]["sessionIssuer"]["arn"] for r in own} == {theft.role}
        assert {r["userIdentity"]["accessKeyId"] for r in stolen} == {theft.access_key}
        assert theft.access_key in {r["userIdentity"]["accessKeyId"] for r in honest}
        assert {r["userAgent"] for r in stolen}.isdisjoint({r["userAgent"] for r in honest})
        assert not any("/contractor-02/" in r["requestParameters"].get("key", "") for r in stolen)

    def test_nobody_else_reads_ten_thousand_objects_in_five_minutes(self, robbed, distinct):
        """One session passes the headline rule; the nightly ETL comes near."""
        peaks = {who: most_objects(pairs) for who, pairs in objects_read(distinct).items()}
        assert peaks.pop(robbed.theft.principal_id) >= 17_000
        assert 9_900 <= max(peaks.values()) < 10_000
        assert [who.partition(":")[2] for who, most in peaks.items() if most > 5_000] == ["nightly-etl"]

    def test_epochs_pass_ten_thousand_requests_over_few_objects(self, distinct):
        """Counting requests for objects would page for every training run."""
        (who,) = {session(r) for r in distinct if ":i-" in session(r)}
        pairs = objects_read(distinct)[who]
        assert most_objects(pairs) == 3_000
        assert most_objects([(at, str(i)) for i, (at, _) in enumerate(pairs)]) == 12_000

    @pytest.mark.parametrize(
        "wrong", [{"at": time(23, 59)}, {"contractor_number": 99}, {"principals": 5}], ids=lambda w: next(iter(w))
    )
    def test_an_impossible_theft_is_refused(self, wrong):
        """Rather than planted with a label that does not hold."""
        with pytest.raises(InputError):
            smash_and_grab(1, day=DAY, **wrong)


class TestDelivery:
    def test_names_are_cloudtrails(self, files):
        """Key of the trail's bucket, with account, region and the minute of delivery."""
        for file in files:
            account, region, minute = NAME.fullmatch(file.name).groups()
            assert minute == datetime.fromtimestamp(file.delivered_at, UTC).strftime("%Y%m%dT%H%M")
            assert {(r["recipientAccountId"], r["awsRegion"]) for r in file.records} == {(account, region)}
        assert len({f.name for f in files}) == len(files)
        assert {NAME.fullmatch(f.name).groups()[:2] for f in files} == set(BUCKETS.values())

    def test_first_deliveries_take_one_to_seven_minutes(self, files):
        """Events lie in the day; each is delivered 60 to 420 s later for the first time, in order of the files."""
        first = {}
        for file in files:
            for r in file.records:
                first.setdefault(r["eventID"], (second(r), file.delivered_at))
        assert [f.delivered_at for f in files] == sorted(f.delivered_at for f in files)
        assert all(MIDNIGHT <= at < MIDNIGHT + 86_400 for at, _ in first.values())
        delays = {delivered - at for at, delivered in first.values()}
        assert min(delays) == 60
        assert max(delays) == 420

    def test_duplicates_are_the_same_record(self, files):
        """About 0.5 % come twice, under one eventID and alike, some of them in another file."""
        copies = defaultdict(list)
        for number, file in enumerate(files):
            for r in file.records:
                copies[r["eventID"]].append((number, r))
        twice = [c for c in copies.values() if len(c) > 1]
        assert 0.003 < len(twice) / len(copies) < 0.007
        assert all(len(c) == 2 and c[0][1] == c[1][1] for c in twice)
        assert {c[0][0] == c[1][0] for c in twice} == {True, False}

    def test_a_file_is_unordered(self, files):
        """Nobody may rely on order inside a file."""
        times = [second(r) for r in max(files, key=lambda f: len(f.records)).records]
        assert times != sorted(times)

    def test_written_files_are_gzip_of_records(self, files, tmp_path):
        """write() lays the very bytes under the file's name and leaves no part behind."""
        paths = write(tmp_path, files[:5])
        assert sorted(p for p in tmp_path.rglob("*") if p.is_file()) == sorted(paths)
        for path, file in zip(paths, files, strict=False):
            assert path == tmp_path / file.name
            assert json.loads(gzip.decompress(path.read_bytes())) == {"Records": file.records}


class TestShapes:
    def test_a_days_size(self, files):
        """Small enough to make and to judge in seconds."""
        assert 60_000 <= sum(len(f.records) for f in Organisation(2, day=DAY).files()) <= 120_000

    def test_every_record_has_cloudtrails_fields(self, distinct):
        """The fields every data event of version 1.11 has, with their types."""
        for r in distinct[::50]:
            assert FIELDS <= r.keys() <= FIELDS | SOMETIMES
            assert (r["eventVersion"], r["eventSource"], r["eventType"]) == ("1.11", "s3.amazonaws.com", "AwsApiCall")
            assert (r["eventCategory"], r["managementEvent"]) == ("Data", False)
            assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", r["eventID"])
            assert re.fullmatch(r"[0-9A-Z]{16}", r["requestID"])
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", r["eventTime"])
            assert len(r["additionalEventData"]["x-amz-id-2"]) == 76
            assert [x["type"] for x in r["resources"]] == ["AWS::S3::Object", "AWS::S3::Bucket"]
            assert r["resources"][1]["ARN"] == f"arn:aws:s3:::{r['requestParameters']['bucketName']}"

    def test_a_session_arn_drops_the_roles_path(self, distinct):
        """Vendors and Identity Center roles have a path: the issuer's ARN keeps it."""
        contractors = [r["userIdentity"] for r in distinct if session(r).endswith(":contractor-03")]
        issuer = contractors[0]["sessionContext"]["sessionIssuer"]
        assert issuer["arn"] == "arn:aws:iam::111122223333:role/vendors/ContractorTranscriber"
        assert contractors[0]["arn"] == "arn:aws:sts::111122223333:assumed-role/ContractorTranscriber/contractor-03"
        assert issuer["principalId"] == contractors[0]["principalId"].partition(":")[0]
        assert len(issuer["principalId"]) == 21
        assert len(contractors[0]["accessKeyId"]) == 20

    def test_all_kinds_of_identity_and_traffic_occur(self, distinct):
        """Assumed roles, a service, a stranger with a shared id; reads, lists, heads, writes and refusals."""
        assert {r["userIdentity"]["type"] for r in distinct} == {"AssumedRole", "AWSService", "AWSAccount"}
        assert {r["eventName"] for r in distinct} == {"GetObject", "HeadObject", "ListObjects", "PutObject"}
        assert {r.get("errorCode") for r in distinct} == {None, "AccessDenied"}
        assert all(("sharedEventID" in r) == (r["userIdentity"]["type"] == "AWSAccount") for r in distinct)
        invoked = {r["userIdentity"].get("invokedBy") for r in distinct if r["userIdentity"]["type"] == "AssumedRole"}
        assert invoked == {None, "athena.amazonaws.com", "backup.amazonaws.com"}

    def test_a_machine_renews_its_key_and_keeps_its_name(self, distinct):
        """One session name, many access keys, each issued at most an hour before."""
        built = [r for r in distinct if session(r).endswith(":build-01")]
        assert len({r["userIdentity"]["accessKeyId"] for r in built}) > 10
        for r in built:
            issued = r["userIdentity"]["sessionContext"]["attributes"]["creationDate"]
            assert iso(second(r) - 3_600) <= issued <= r["eventTime"]

    def test_principals_are_counted(self, distinct):
        """As many as asked for."""
        assert len({session(r) for r in distinct}) == 40


class TestBurst:
    def test_a_burst_is_what_was_asked_for(self):
        """So many distinct objects by one session, evenly over the seconds from start on."""
        made = burst("contractor-42", 12_500, 240, MIDNIGHT)
        (pairs,) = objects_read(made).values()
        assert len({name for _, name in pairs}) == len(made) == most_objects(pairs) == 12_500
        assert {at for at, _ in pairs} == set(range(MIDNIGHT, MIDNIGHT + 240))
        assert {r["userIdentity"]["arn"].rpartition("/")[2] for r in made} == {"contractor-42"}

    def test_bursts_have_ids_of_their_own(self):
        """Two bursts at other times or by other seeds never look like duplicates."""
        made = [burst("contractor-42", 10, 5, MIDNIGHT + at, seed=seed) for at, seed in ((0, 0), (9, 0), (0, 1))]
        assert len({r["eventID"] for r in chain(*made)}) == 30
