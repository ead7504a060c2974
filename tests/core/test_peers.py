"""Peer groups: what was generated in a role's name does not tell its job; what a rule declares comes first."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.peers import acting, peer_group, session_stem, stem
from detector.core.principal import anonymous, service
from tests.streams import principal


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("ContractorDataReader", "ContractorDataReader"),
        ("analyst-032", "analyst"),
        ("reader2", "reader"),
        ("team-07-reader", "team-reader"),
        ("prod-Stack-Role-1A2B3C", "prod-Stack-Role"),
        ("prod-Stack-Role-1QWERTY2ASDF", "prod-Stack-Role"),
        ("prod-Stack-Role-aB3dEf6HiJ9k", "prod-Stack-Role"),
        ("App-LambdaServiceRole3A880229-1A2B3C4D5E6F", "App-LambdaServiceRole"),
        ("AWSReservedSSO_DataAnalyst_4f6c1d2a9be03857", "AWSReservedSSO_DataAnalyst"),
        ("AmazonSageMaker-ExecutionRole-20260501T090000", "AmazonSageMaker-ExecutionRole"),
        ("worker-550e8400-e29b-41d4-a716-446655440000", "worker"),
        ("deploy-20260501120000000000000001", "deploy"),
        ("ec2-s3-reader", "ec2-s3-reader"),
        ("app-TrainerV2Prod", "app-TrainerV2Prod"),
        ("S3READER-acme", "S3READER-acme"),
        ("decade-facade", "decade-facade"),
        ("0042", "0042"),
    ],
)
def test_a_stem_is_the_name_without_what_was_generated(name, short):
    """Numbers, hashes and suffixes go, words stay; a name of nothing else stays whole."""
    assert stem(name) == short


@given(st.text(max_size=40))
def test_every_name_has_a_stem(name):
    """No name gives an empty group, and no stem grows."""
    assert bool(stem(name)) is bool(name)
    assert len(stem(name)) <= len(name)


def of(role: str) -> str:
    return peer_group(principal("s")._replace(role_shown=role, role="AROAROLE"))


def test_a_role_has_one_group_in_both_logs_and_in_every_account():
    """CloudTrail shows the role's ARN with its path, the access log the session's without its name."""
    assert of("arn:aws:iam::111122223333:role/vendors/Reader-7") == "Reader"
    assert of("arn:aws:sts::111122223333:assumed-role/Reader-7") == "Reader"
    assert of("arn:aws-cn:iam::444455556666:role/Reader-8") == "Reader"


def test_a_user_is_no_peer_of_a_role_of_the_same_name():
    """Whoever may make users cannot hide among the trainers, and users in numbers are one group."""
    assert of("arn:aws:iam::111122223333:user/labs/Trainer1") == "user/Trainer"
    assert of("arn:aws:sts::111122223333:federated-user/bob") == "federated-user/bob"


def test_whoever_has_no_name_is_a_group_of_its_own():
    """A foreign role's id, root, a service, a canonical user: as they are shown."""
    for role in ("444455556666:AROAFOREIGN", "arn:aws:iam::111122223333:root", "79a59d", "arn:aws:iam::1:role/"):
        assert of(role) == role
    assert peer_group(anonymous("192.0.2.1")) == "anonymous"
    assert peer_group(service("athena.amazonaws.com", None)) == "service:athena.amazonaws.com"


def test_the_first_declared_group_that_fits_counts():
    """By the role's ARN or id; who fits none keeps the stem."""
    one = principal("s")._replace(role_shown="arn:aws:iam::1:role/train-a", role="AROATRAIN")
    assert peer_group(one, (("x", ("*:role/y",)), ("trainers", ("*:role/train-*",)), ("all", ("*",)))) == "trainers"
    assert peer_group(one, (("by id", ("AROATRAIN",)),)) == "by id"
    assert peer_group(one, (("x", ("train-a",)),)) == "train-a"


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("contractor-42", "contractor-42"),
        ("alice-1714550000", "alice"),
        ("alice-20260501T090000Z", "alice"),
        ("dana-550e8400-e29b-41d4-a716-446655440000", "dana"),
        ("bob@example.com", "bob@example.com"),
        ("1714550000", "1714550000"),
        ("deadbeef", "deadbeef"),
    ],
)
def test_a_session_name_keeps_the_number_of_a_person(name, short):
    """What its maker appends to a name goes; a name of nothing else stays whole."""
    assert session_stem(name) == short


def test_whose_habits_they_are():
    """The role's; of a role that people share each one's, and always of Identity Center's: nobody chooses its names."""
    one = principal("ann-1714550000")
    assert acting(one) == ("AROAROLE",)
    assert acting(one, ("arn:*:role/Role",)) == acting(one, ("AROAROLE",)) == ("AROAROLE", "ann")
    assert acting(one, ("*:role/Other",)) == ("AROAROLE",)
    center = "arn:aws:iam::1:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Analyst_4f6c1d2a9be03857"
    assert acting(one._replace(role_shown=center)) == ("AROAROLE", "ann")
    assert acting(one._replace(role_shown="arn:aws:iam::1:role/AWSReservedSSO_Fake")) == ("AROAROLE",)
    assert acting(service("athena.amazonaws.com", None), ("*",)) == ("service:athena.amazonaws.com",)
