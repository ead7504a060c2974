"""Principals that are made when they are looked at, and groups that are worked out once."""

from itertools import chain
from multiprocessing.reduction import ForkingPickler
from unittest.mock import patch

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.core import made, met
from detector.core.builder import BatchBuilder
from detector.core.groupings import NO_GROUP, Groupings
from detector.core.principal import Principal, fingerprint, fingerprints, print_of
from detector.core.principals import Principals, Unread
from detector.core.view import BatchView
from detector.logs import identity
from detector.logs.read import read
from tests.records import ROLE_ID, SESSION_ARN, assumed_role, file_of, iam_user, record


def someone(number):
    name = f"arn:aws:iam::111122223333:user/u{number}"
    return Principal("IAMUser", name, name, name, name, "111122223333")


def test_an_identity_is_read_when_it_is_looked_at_and_once():
    asked = []

    def made(text):
        asked.append(text)
        return someone(int(text))

    held = Principals([someone(0), Unread(made, b"1"), Unread(made, b"2")])
    assert len(held) == 3
    assert asked == []
    assert [held[1], held[1], held[-2]] == [someone(1)] * 3
    assert asked == [b"1"]
    assert list(held[1:]) == [someone(1), someone(2)]


def test_identities_go_to_another_process_read_or_not():
    text = b'{"type":"IAMUser","arn":"arn:aws:iam::111122223333:user/u7","accountId":"111122223333"}'
    half = someone(3)._replace(session_name="\ud83d", mfa=True, issued_at=7)
    there = ForkingPickler.loads(ForkingPickler.dumps(Principals([half, Unread(identity.principal, text), someone(0)])))
    assert list(there) == [half, identity.principal(text), someone(0)]
    assert [type(one) for one in there] == [Principal] * 3


def test_fingerprints_of_many_are_those_of_each():
    each = [("a", 1, None), ("\ud83d", b"x"), (), ("long" * 100,)]
    for some in (each, each[2:]):
        assert np.frombuffer(fingerprints(some), np.uint64).tolist() == list(map(fingerprint, some))


def user(number):
    return iam_user(arn=f"arn:aws:iam::111122223333:user/u{number}", principalId=f"AIDA{number}")


def session(number):
    return assumed_role(arn=f"{SESSION_ARN}{number}", principalId=f"{ROLE_ID}:contractor-42{number}")


def trail(people):
    """A file of one record for each of these identities."""
    return file_of([record(userIdentity=who, eventID=f"{number}") for number, who in enumerate(people)])


def batch(*documents):
    builder = BatchBuilder()
    for number, document in enumerate(documents):
        read(document, f"{number}.json", builder)
    return builder.build()


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=4), st.sampled_from([2, 1 << 18])
)
def test_what_is_remembered_changes_nothing(files, remembered):
    """Whichever identities were met before, and however few are remembered: the same principals and fingerprints."""
    documents = [trail([user(n) if n % 2 else session(n) for n in one]) for one in files]
    with patch.object(met, "MOST", remembered):
        got = [batch(document) for document in documents] + [batch(*documents)]
    for one in got:
        assert one.prints.tolist() == list(map(print_of, one.principals))
        assert len(set(one.prints.tolist())) == len(one.prints)
    names = [[one.principals[code].session for code in one.who] for one in got]
    assert list(chain(*names[:-1])) == names[-1]


def test_whoever_is_spelled_in_several_ways_is_one_of_a_batch():
    """Spaces, members that nobody reads, a file that has to be read record by record: the same session."""
    spelled = [session(1), session(2), session(1) | {"later": 5}]
    odd = trail([session(1), user(4)]).replace(b'"eventTime"', b'"event\\u0054ime"')
    got = batch(trail(spelled), trail([session(1)]).replace(b'":', b'": '), odd)
    names = [got.principals[code].session for code in got.who]
    assert names == [f"{ROLE_ID}:contractor-42{n}" for n in (1, 2, 1, 1, 1)] + [user(4)["arn"]]
    assert got.prints.tolist() == list(map(print_of, got.principals))
    assert len(got.principals) == 3


@given(
    st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=1, max_size=4), st.sampled_from([2, 1 << 18])
)
def test_groups_are_those_worked_out_anew(files, remembered):
    groupings = Groupings()
    for one in files:
        rows = batch(trail([user(n) if n % 3 else session(n) for n in one]))
        for level in ("session", "role", "account", "person"):
            with patch.object(made, "REMEMBERED", remembered):
                groups, keys = BatchView(rows, groupings).groups((level,))
                again, _ = BatchView(rows, groupings).groups((level, "account"))
            together, spelled = BatchView(rows).groups((level, "account"))
            assert again.tolist() == together.tolist() == [fingerprint(spelled[int(group)]) for group in together]
            assert [keys[int(group)][0] for group in groups] == [spelled[int(group)][0] for group in together]
            assert groups.tolist() == [fingerprint(keys[int(group)]) for group in groups]
            assert set(keys) == set(groups.tolist())


def test_nobody_has_no_group():
    rows = batch(trail([user(1)]))
    rows.who[:] = -1
    groups, keys = BatchView(rows).groups(("session",))
    assert groups.tolist() == [int(NO_GROUP)]
    assert dict(keys) == {}
    assert np.array_equal(groups, BatchView(rows).groups(("session", "role"))[0])
