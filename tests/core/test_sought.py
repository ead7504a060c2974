"""What a second look leaves out stands behind nothing, and what it reads it reads as the first look did.

What several groups of one level ask for is taken together: any of them at any of their times.
"""

from __future__ import annotations

from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.access import Skip
from detector.core.builder import BatchBuilder
from detector.core.groupings import IDENTITY, Groupings, group_print
from detector.core.sought import Asked, Sought
from detector.logs import kernel
from detector.logs.read import read
from tests.records import (
    ROLE_ID,
    SESSION_ARN,
    assumed_role,
    copy_object,
    file_of,
    iam_user,
    insight,
    kms_decrypt,
    record,
    rows_of,
)

T0 = int(datetime(2026, 5, 1, 9, tzinfo=UTC).timestamp())
WHO = [
    *(assumed_role(arn=f"{SESSION_ARN}{n}", principalId=f"{ROLE_ID}{n % 2}:contractor-42{n}") for n in range(4)),
    iam_user(),
    {"type": "AWSAccount", "accountId": "anonymous"},
    None,
]
MAKE = [
    record,
    lambda **changes: copy_object("ml-voice/raw/b.wav", **changes),
    lambda **changes: kms_decrypt({"aws:s3:arn": "arn:aws:s3:::ml-voice/raw/c.wav"}) | changes,
    lambda **changes: record("AssumeRole", eventSource="sts.amazonaws.com", **changes),
    lambda **changes: record(sharedEventID="a\\u0041", **changes),
    lambda **changes: insight("i", "Start") | {name: changes[name] for name in ("eventTime", "eventID")},
]
row_ = st.tuples(st.integers(0, 59), st.sampled_from(WHO), st.sampled_from(MAKE))
asked_ = st.tuples(
    st.integers(-2, 60), st.integers(-2, 60), st.sampled_from([None, "session", "role", "account"]), st.integers(0, 9)
)


def documents(files):
    return [
        file_of([make(eventID=f"{n}-{m}", eventTime=f"2026-05-01T09:00:{second:02d}Z", userIdentity=who)
                 for m, (second, who, make) in enumerate(rows)])
        for n, rows in enumerate(files)
    ]  # fmt: skip


def batch(files, sought=None):
    into = BatchBuilder(sought=sought)
    for number, document in enumerate(files):
        read(document, f"{number}.json", into)
    return into.build()


def group_of(rows, row, level):
    code = rows.who[row]
    return 0 if code < 0 else group_print((IDENTITY[level](rows.principals[code]),))


@given(
    st.lists(st.lists(row_, min_size=1, max_size=6), min_size=1, max_size=4), st.lists(asked_, min_size=1, max_size=4)
)
@example([[(5, WHO[0], record), (6, WHO[1], record)]], [(0, 5, "session", 0)])
@pytest.mark.parametrize("built", [True, False] if kernel.BUILT else [False])
def test_all_that_is_asked_for_is_read_as_it_was_and_nothing_else_is(built, files, asked):
    with patch.object(kernel, "BUILT", built):
        every = batch(documents(files))
        wanted = [
            Asked(T0 + after, T0 + until)
            if level is None
            else Asked(T0 + after, T0 + until, level, group_of(every, number % len(every), level) or 7)
            for after, until, level, number in asked
        ]
        found = batch(documents(files), Sought(wanted, Groupings()))
    assert rows_of(found.take(found.skip == Skip.no)) == [
        shown
        for row, shown in enumerate(rows_of(every))
        if every.skip[row] == Skip.no
        and any(
            one.after < every.time[row] <= one.until
            and (
                one.level is None
                or group_of(every, row, one.level) in {o.group for o in wanted if o.level == one.level}
            )
            for one in wanted
        )
    ]


def test_times_that_touch_or_hold_each_other_are_one_span():
    asked = [Asked(5, 9), Asked(0, 20), Asked(20, 30), Asked(40, 41), Asked(0, 0)]
    (after, until) = Sought(asked, Groupings())._spans[None]
    assert (after.tolist(), until.tolist()) == ([0, 40], [30, 41])
