"""Identities: keys for one who is one, a value at every level, names nobody can aim."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.principal import account_of_arn, anonymous, fingerprint, role_of_assumed_arn, role_session, service

SESSION = "arn:aws:sts::111122223333:assumed-role/Reader/s1"
ROLE = "arn:aws:iam::111122223333:role/a/Reader"
parts = st.none() | st.text(max_size=8)


def test_a_role_session_is_keyed_by_ids_and_shown_by_arns():
    """The session's key is exactly `aws:userid`; the role's is the id before the colon."""
    found = role_session("AROA1:s1", SESSION, "AROA1", ROLE, "111122223333")
    assert found == ("AROA1:s1", SESSION, "AROA1", ROLE, "s1")


def test_a_foreign_roles_session_has_the_keys_of_its_own_accounts_copy():
    """The bucket owner's copy has neither arn nor issuer: same keys, shown with the account."""
    foreign = role_session("AROA1:s1", None, None, None, "444455556666")
    assert foreign == ("AROA1:s1", "444455556666:AROA1:s1", "AROA1", "444455556666:AROA1", "s1")


@given(parts, parts, parts, parts, parts)
def test_every_role_session_has_a_value_at_every_level(principal_id, arn, issuer_id, issuer_arn, account):
    """Whatever is missing, session, role and what is shown of them are not empty."""
    assert all(role_session(principal_id, arn, issuer_id, issuer_arn, account)[:4])


@pytest.mark.parametrize(
    ("arn", "account"),
    [(SESSION, "111122223333"), ("arn:aws-cn:iam::2:user/x", "2"), ("arn:aws:s3:::b/k", None), ("x:y", None)],
)
def test_the_account_stands_in_the_fifth_field_of_any_partition(arn, account):
    """ARNs without an account, and what is no ARN, have none."""
    assert account_of_arn(arn) == account


def test_a_roles_arn_is_its_sessions_without_the_name():
    """Anything else is left as it is."""
    assert role_of_assumed_arn(SESSION) == "arn:aws:sts::111122223333:assumed-role/Reader"
    assert role_of_assumed_arn(ROLE) == ROLE


def test_anonymous_requests_are_a_session_an_address_and_one_role():
    """Also where the address is missing."""
    assert anonymous("192.0.2.1")[1:5] == ("anonymous@192.0.2.1",) * 2 + ("anonymous",) * 2
    assert anonymous(None).session == "anonymous@unknown"


def test_a_service_is_itself_at_every_level():
    """Its account is the one it acts in, where that is known."""
    found = service("replication.s3.amazonaws.com", None)
    assert {found.session, found.role, found.account} == {"service:replication.s3.amazonaws.com"}
    assert service("ec2.amazonaws.com", "2").account == "2"


@given(st.lists(parts, max_size=4), st.lists(parts, max_size=4))
def test_fingerprints_tell_apart_what_differs(one, other):
    """Null is not empty text, and a list is not its longer neighbour; same parts give the same print."""
    assert (fingerprint(tuple(one)) == fingerprint(tuple(other))) is (one == other)
