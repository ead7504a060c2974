"""`bucketwatch init` without a path: what it finds in AWS, on a real server; and how much of it it takes."""

import time
from datetime import UTC, datetime

import pytest

from detector.aws.objects import S3Objects
from detector.doctor.result import Answer
from detector.rules import load_rules
from detector.settings import read_settings
from replay.discover import Logs, Surroundings, discover, history_of
from replay.example_day import burst
from tests.e2e.test_daemon_directory import packed
from tests.replay.test_init import run
from tests.servers import serving

DAY = 86_400
ACCOUNT = "123456789012"
TODAY = int(time.time()) // DAY


def stamp(day, pattern="%Y/%m/%d/"):
    return datetime.fromtimestamp(day * DAY, UTC).strftime(pattern)


@pytest.fixture(scope="module")
def moto_server():
    """An account of our own: what is found is all there is."""
    with serving() as url:
        yield url


@pytest.fixture
def trail(aws):
    """A trail that logs reads, its bucket with days of files, and a queue that is told of them."""
    s3, bucket = aws.client("s3"), aws.bucket("trail")
    queue = aws.client("sqs").create_queue(QueueName=aws.name("notices"))["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:{ACCOUNT}:{queue.rpartition('/')[2]}"
    told = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
    s3.put_bucket_notification_configuration(Bucket=bucket, NotificationConfiguration=told)
    cloudtrail, name = aws.client("cloudtrail"), aws.name("trail")
    cloudtrail.create_trail(Name=name, S3BucketName=bucket, S3KeyPrefix="org")
    objects = {"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::ml-voice-raw/"]}
    selector = {"ReadWriteType": "All", "IncludeManagementEvents": True, "DataResources": [objects]}
    cloudtrail.put_event_selectors(TrailName=name, EventSelectors=[selector])
    cloudtrail.start_logging(Name=name)
    for back in range(1, 6):
        day = TODAY - back
        for who in range(6):
            records = burst(f"reader-{who}", 250, 290, day * DAY + 36_000 + 3600 * who)
            key = f"org/AWSLogs/{ACCOUNT}/CloudTrail/us-east-1/{stamp(day)}{ACCOUNT}_{who}.json.gz"
            s3.put_object(Bucket=bucket, Key=key, Body=packed(records))
    s3.put_object(
        Bucket=bucket, Key=f"org/AWSLogs/{ACCOUNT}/CloudTrail-Digest/us-east-1/{stamp(TODAY - 1)}x", Body=b"x"
    )
    yield bucket, queue, name
    cloudtrail.delete_trail(Name=name)


def test_it_finds_the_trail_fetches_its_history_and_writes_a_config_that_runs(trail, tmp_path, capsys, monkeypatch):
    """The queue that is told, the log bucket under `accept`, the days that were learnt from."""
    bucket, queue, name = trail
    status, said = run(capsys, monkeypatch, "--out", tmp_path)
    assert status == 0, said.err
    assert "trail that logs reads: " in said.out
    assert name in said.out
    assert f"cloudtrail: s3://{bucket}, told to {queue}" in said.out
    assert "fetching 30 files of 5 days" in said.out
    assert f"{250 * 6 * 5:,} reads in 5 days" in said.out
    settings = read_settings(tmp_path / "bucketwatch.yaml", {})
    assert settings.source.queue_url == queue
    assert settings.accept.buckets == (bucket,)
    assert len(load_rules(tmp_path / "rules")) > 5


def test_fewer_days_and_less_to_fetch_may_be_asked_for(trail, tmp_path, capsys, monkeypatch):
    """The newest days are taken, whole; that something is left out is said."""
    status, said = run(capsys, monkeypatch, "--out", tmp_path, "--days", 3)
    assert status == 0, said.err
    assert "fetching 18 files of 3 days" in said.out
    megabytes = float(said.out.partition("of 3 days, ")[2].partition(" MB")[0])
    status, said = run(capsys, monkeypatch, "--out", tmp_path, "--most", f"{int(megabytes * 900)}K", "--force")
    assert status == 0, said.err
    assert "fetching 12 files of 2 days" in said.out
    assert "older days would be more than --most: left out" in said.out


def test_what_cannot_be_a_size_is_said(tmp_path, capsys, monkeypatch):
    """With what would do."""
    status, said = run(capsys, monkeypatch, "--out", tmp_path, "--most", "plenty")
    assert status == 2
    assert "--most plenty: expected a size" in said.err


@pytest.mark.parametrize("partitioned", [False, True])
def test_access_logs_are_found_where_no_trail_logs_reads(aws, partitioned):
    """Below the prefix of each bucket, by the date in the key, whichever form that has."""
    s3, source, target = aws.client("s3"), aws.bucket("ml-voice"), aws.bucket("access")
    logging = {"TargetBucket": target, "TargetPrefix": "voice/"}
    keys = [f"voice/{stamp(TODAY - back, '%Y-%m-%d')}-09-03-20-AB" for back in (1, 10)]
    if partitioned:
        keys = [f"voice/{ACCOUNT}/us-east-1/{source}/{stamp(TODAY - back)}x" for back in (1, 10)]
    for key in (*keys, "elsewhere"):
        s3.put_object(Bucket=target, Key=key, Body=b"line")

    def ask(question, /, region=None, **asked):
        """The server does not keep the form of keys, and other tests have buckets: these answers are AWS's own."""
        if question == "s3:list_buckets":
            return Answer({"Buckets": [{"Name": source}]})
        if question == "s3:get_bucket_logging":
            form = {"TargetObjectKeyFormat": {"PartitionedPrefix": {}}} if partitioned else {}
            return Answer({"LoggingEnabled": logging | form})
        if question == "s3:list_objects_v2":
            return Answer(s3.list_objects_v2(**asked))
        return Answer({} if "trails" in question else None, "denied", "no", question)

    found = discover(ask)
    assert [logs.kind for logs in found.logs] == ["access logs"]
    assert {one.key for one in history_of(found, ask, TODAY * DAY + 5, 3, 1 << 30)[0]} == {keys[0]}
    assert found.unseen == [f"s3://{target}: no: allow s3:get_bucket_notification_configuration"]


@pytest.mark.parametrize(("most", "taken", "over"), [(90, 3, 0), (65, 2, 30), (30, 1, 30), (29, 0, 30)])
def test_only_whole_days_are_taken_and_no_more_is_listed(most, taken, over):
    """A day cut short would teach too low a peak; days past the bound are not asked for."""
    asked = []

    def ask(question, /, region=None, **how):
        asked.append(how["Prefix"])
        return Answer({"Contents": [{"Key": f"{how['Prefix']}{n}", "Size": 10} for n in range(3)]})

    found = Surroundings(logs=[Logs("cloudtrail", "b", ("x/%Y/%m/%d/",))])
    chosen, left = history_of(found, ask, TODAY * DAY + 5, 3, most)
    assert ({one.day for one in chosen}, left) == ({TODAY - 1 - back for back in range(taken)}, over)
    assert len(set(asked)) == min(3, taken + 1)


def test_a_day_that_is_too_large_is_refused_and_a_file_that_is_gone_is_not(trail, tmp_path, capsys, monkeypatch):
    """The bound holds for the newest day, too; what was deleted since it was listed is counted."""
    status, said = run(capsys, monkeypatch, "--out", tmp_path, "--most", "1K")
    assert status == 2
    assert "the newest day alone has" in said.err
    fetch = S3Objects.fetch

    def missing(self, bucket, key, version=""):
        return fetch(self, bucket, "gone" if "_3." in key else key, version)

    monkeypatch.setattr(S3Objects, "fetch", missing)
    status, said = run(capsys, monkeypatch, "--out", tmp_path)
    assert status == 0, said.err
    assert "5 of them were gone by then" in said.out


def test_nothing_to_learn_from_is_an_error_that_says_what_was_not_seen(aws, tmp_path, capsys, monkeypatch):
    """What may not be looked at is named with the right it needs."""

    class Blind:
        def __call__(self, question, /, region=None, **asked):
            return Answer(None, "denied", "not allowed", "x:Y")

        def close(self):
            pass

    monkeypatch.setattr("detector.aws.look.Look", Blind)
    status, said = run(capsys, monkeypatch, "--out", tmp_path)
    assert status == 2
    assert "could not be looked at: trails: not allowed: allow x:Y" in said.out
    assert "no logs were found, and not all could be looked at" in said.err
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_listed_is_said(monkeypatch):
    """A log bucket that may not be listed, and one with more files a day than are listed, are not empty ones."""
    monkeypatch.setattr("replay.discover.LISTED", 2)
    trail = {"TrailARN": "arn:t", "S3BucketName": "logs", "S3KeyPrefix": "org", "HomeRegion": "us-east-1"}
    objects = {"DataResources": [{"Type": "AWS::S3::Object", "Values": ["arn:aws:s3:::a/"]}], "ReadWriteType": "All"}
    place = "org/AWSLogs/1/CloudTrail/us-east-1/"

    def asking(*, may_list):
        def ask(question, /, region=None, **asked):
            if question == "s3:list_objects_v2":
                folders = [{"Prefix": place}] if asked["Prefix"] == "org/AWSLogs/" else []
                files = [{"Key": f"{asked['Prefix']}{n}", "Size": 1} for n in range(2)]
                return Answer(
                    {"CommonPrefixes": folders, "Contents": files} if may_list else None, "denied", "no", "x:L"
                )
            answers = {"describe_trails": {"trailList": [trail]}, "get_event_selectors": {"EventSelectors": [objects]}}
            return Answer(answers.get(question.partition(":")[2], {}))

        return ask

    found = discover(asking(may_list=False))
    assert found.unseen == ["s3://logs/org/AWSLogs/: no: allow x:L"]
    found = discover(asking(may_list=True))
    assert found.logs[0].prefixes == (f"{place}%Y/%m/%d/",)
    assert len(history_of(found, asking(may_list=True), TODAY * DAY + 5, 1, 9)[0]) == 2
    assert found.unseen == [f"s3://logs/{place}{stamp(TODAY - 1)}: only its first 2 files were listed"]
