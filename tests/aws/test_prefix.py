"""A prefix of a bucket, listed again and again: no file is lost, none comes twice, however keys and clocks go."""

from __future__ import annotations

import json
import random
import time
from typing import Any

import pytest

from detector.aws.objects import S3Objects
from detector.aws.prefix import PrefixSource
from detector.aws.tree import S3Tree
from detector.core.times import iso
from detector.errors import EdgeError, StateError
from detector.logs.envelope import Accept
from tests.servers import Aws

DAY = 86_400


def key(days: int, name: str = "a", account: str = "111122223333") -> str:
    """A log file that was delivered so many days ago, by its name."""
    date = iso(int(time.time()) - days * DAY)[:10].replace("-", "/")
    return f"AWSLogs/{account}/CloudTrail/us-east-1/{date}/{name}.json.gz"


class World:
    """A bucket, what a checkpoint keeps of a source over it, and a clock that may be wrong."""

    def __init__(self, aws: Aws) -> None:
        self.s3, self.bucket, self.positions, self.ahead = aws.client("s3"), aws.bucket("logs"), b"", 0

    def put(self, *keys: str, content: bytes = b"x") -> None:
        for one in keys:
            self.s3.put_object(Bucket=self.bucket, Key=one, Body=content)

    def begin(self, **how: Any) -> PrefixSource:
        """A life, from the last checkpoint."""
        accept = Accept(frozenset({self.bucket}), how.pop("accounts", frozenset()))
        clock = lambda: time.time() + self.ahead  # noqa: E731
        made = PrefixSource(self.bucket, "AWSLogs/", accept, S3Objects(), now=clock, **{"every": 0} | how)
        if self.positions:
            made.restore(self.positions)
        return made

    def read(self, source: PrefixSource) -> list[str]:
        """All that comes, each poll in a checkpoint before it is acknowledged."""
        got: list[str] = []
        while (delivery := source.receive(0)).messages:
            got += [notice.key for message in delivery.messages for notice in message.notices]
            self.positions = source.positions(delivery.messages)
            source.acknowledge(delivery.messages)
        return got


@pytest.fixture
def world(aws: Aws) -> World:
    return World(aws)


@pytest.mark.parametrize("seed", range(2))
def test_each_file_comes_once_whatever_the_order_of_keys_and_crashes(world, seed):
    """Keys turn up before those already read; lives end before the acknowledgement, with or without a checkpoint."""
    chance, got = random.Random(seed), list[str]()
    keys = [key(days, name) for days in range(3) for name in "abcd"]
    chance.shuffle(keys)
    source = world.begin(limit=3)
    for first in range(0, len(keys), 4):
        world.put(*keys[first : first + 4])
        delivery = source.receive(0)
        if chance.random() < 0.5:
            got += [message.notices[0].key for message in delivery.messages]
            world.positions = source.positions(delivery.messages)
        source = world.begin(limit=3)
        got += world.read(source)
    assert sorted(got) == sorted(keys)


def test_a_file_written_anew_is_another_one(world):
    source = world.begin()
    world.put(key(0))
    assert world.read(source) == [key(0)]
    world.put(key(0), content=b"y")
    assert world.read(world.begin()) == [key(0)]


def test_what_came_while_it_was_down_is_read(world):
    """From where on is listed does not move by the clock: here no daemon ran for ten days."""
    world.ahead = -10 * DAY
    source = world.begin()
    assert world.read(source) == []
    world.positions, world.ahead = source.positions([]), 0
    world.put(key(8), key(0))
    assert world.read(world.begin()) == [key(8), key(0)]


def test_what_is_older_than_the_lookback_is_not_listed(world):
    """It moves once all of a listing has been acknowledged, and never back, so that nothing read comes again."""
    world.put(key(8), key(0))
    source = world.begin()
    assert world.read(source) == [key(0)]
    world.put(key(2, "late"))
    world.ahead = 900 * DAY  # our clock is wrong: S3's counts
    assert world.read(source) == [key(2, "late")]
    world.ahead = -900 * DAY
    assert world.read(world.begin(lookback=1000 * DAY)) == []


def test_while_something_is_in_hand_it_does_not_move(world):
    """What is not acknowledged has to be found again."""
    world.ahead = -10 * DAY
    source = world.begin()
    world.put(key(8), key(0))
    held = source.receive(0).messages
    world.put(key(7))
    assert [m.notices[0].key for m in source.receive(0).messages] == [key(7)]
    world.positions = source.positions([])
    assert len(held) == 2
    assert world.read(world.begin()) == [key(8), key(7), key(0)]


def test_what_can_never_be_read_does_not_keep_it_from_moving(world):
    """Its name has no date, so it is found again from wherever is listed; what was read can be forgotten."""
    world.ahead = -10 * DAY
    source = world.begin()
    world.put(key(8), "AWSLogs/archived.gz", key(0))
    messages = source.receive(0).messages
    source.acknowledge([message for message in messages if message.notices[0].key != "AWSLogs/archived.gz"])
    assert source.receive(0).messages == []
    assert len(json.loads(source.positions([]))["done"]) == 1
    world.positions = source.positions([])
    assert world.read(world.begin()) == ["AWSLogs/archived.gz"]


def test_what_cloudtrail_signs_its_logs_with_is_not_read(world):
    """A queue's notices of these files are passed over as well."""
    signature = key(0).replace("/CloudTrail/", "/CloudTrail-Digest/")
    world.put(key(0), signature)
    assert world.read(world.begin()) == [key(0)]


def test_after_an_outage_all_is_listed_anew(world, monkeypatch):
    """Folders that were begun in the outage do not fail once more, nor hide what came since."""
    page, down = S3Tree._page, [True]

    def asked(tree, s3, folder, more):
        if down[0] and folder != "AWSLogs/":
            raise EdgeError("no answer", where=folder, remedy="", retryable=True)
        return page(tree, s3, folder, more)

    monkeypatch.setattr(S3Tree, "_page", asked)
    keys = [key(0, account=f"11112222333{n}") for n in range(4)]
    world.put(*keys)
    source = world.begin()
    with pytest.raises(EdgeError, match="no answer"):
        source.receive(0)
    down[0] = False
    world.put(newer := key(0, "b", account="111122223339"))
    assert world.read(source) == [*keys, newer]


def test_another_account_is_refused_and_said(world):
    """By `accept.accounts`, as in a queue."""
    world.put(key(0), key(0, account="999999999999"))
    messages = world.begin(accounts=frozenset({"111122223333"})).receive(0).messages
    assert [bool(message.problem) for message in messages] == [False, True]
    assert "999999999999" in messages[1].problem
    assert key(0, account="999999999999") in messages[1].problem
    assert messages[1].notices == ()


@pytest.mark.parametrize("damage", [{"of": 1}, {"first": "x"}, {"done": [1]}, {"done": None}])
def test_positions_that_are_damaged_are_refused(world, damage):
    source = world.begin()
    positions = json.loads(source.positions([])) | damage
    with pytest.raises(StateError, match="damaged"):
        source.restore(json.dumps(positions).encode())


def test_it_looks_at_most_so_often(world):
    """A listing costs money: between two of them only what was listed is handed out."""
    now = [0.0]
    source = world.begin(limit=1, every=60, monotonic=lambda: now[0])
    world.put(key(0, "b"), key(0, "c"))
    assert len(source.receive(0).messages) == 1
    world.put(key(0, "a"))
    assert [m.notices[0].key for m in source.receive(0).messages] == [key(0, "c")]
    assert source.receive(0).messages == []
    now[0] = 60.0
    assert [m.notices[0].key for m in source.receive(0).messages] == [key(0, "a")]
