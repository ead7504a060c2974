"""Policies of what was seen: they allow it, nothing beside it, whatever the keys are called, and fit into STS."""

from __future__ import annotations

import dataclasses
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.operation import CLASS
from detector.response.scoped import KNOWN, LIMIT, Place, Scoped, Seen, lifetime, scoped
from tests.iam import ALL_OF_S3, Emulator, Request, Simulator, lint

ACCOUNT = "111122223333"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/vendors/Reader"
READ = Request(ROLE, "AROAEXAMPLEEXAMPLE123:contractor-42", ACCOUNT, "s3:GetObject", "arn:aws:s3:::raw/a", ACCOUNT)
HOSTILE = ["42/", "*/", "a*b?/", "${aws:userid}/", "$/", "q'\"\\/", "né/", "x y/", "deep/er/"]


def seen(*prefixes: str, bucket: str = "raw", apis: str = "GetObject", kind: str = "read", **more) -> Seen:
    return Seen({kind: frozenset(Place(bucket, p) for p in prefixes)}, frozenset(apis.split()), **more)


def allows(made: Scoped, bucket: str, key: str) -> bool:
    """By what IAM says of patterns: `*` and `?` mean something, unless they are written as a variable."""
    for statement in made.document["Statement"] if made.document else ():
        for resource in statement["Resource"] if isinstance(statement["Resource"], list) else ():
            pattern = ""
            for part in re.findall(r"\$\{[*?$]\}|.", resource, re.DOTALL):
                plain = part[2] if len(part) > 1 else part
                pattern += ".*" if part == "*" else "." if part == "?" else re.escape(plain)
            if re.fullmatch(pattern, f"arn:aws:s3:::{bucket}/{key}", re.DOTALL):
                return True
    return False


places = st.builds(Place, st.sampled_from(["raw", "other"]), st.lists(st.text(max_size=12), max_size=4).map(
    lambda words: "".join(f"{word.replace('/', '')}/" for word in words)))  # fmt: skip


@given(st.frozensets(places, min_size=1, max_size=40))
def test_what_was_seen_is_allowed_and_it_fits(given_places):
    """Of any prefixes there are; wider than seen is only what is said to be."""
    made = scoped(Seen({"read": given_places}, frozenset({"GetObject"})))
    assert made.document is not None
    assert len(made.text) <= LIMIT
    assert json.loads(made.text) == made.document
    assert all(allows(made, place.bucket, f"{place.prefix}x") for place in given_places)
    if not made.widened:
        outside = [p for p in given_places if p.prefix]
        assert not any(allows(made, p.bucket, f"\x00{p.prefix}") for p in outside if _alone(p.bucket, given_places))


def _alone(bucket: str, every: frozenset[Place]) -> bool:
    """Whether no prefix of a bucket is all of it, nor could begin as any other text does."""
    return all(place.prefix for place in every if place.bucket == bucket)


@pytest.mark.parametrize("prefix", HOSTILE)
def test_a_prefix_means_itself_to_an_independent_simulator(simulator: Simulator, prefix: str):
    """Its own objects, and none of a neighbour that a wildcard would take in."""
    document = scoped(seen(prefix)).document

    def reads(key: str) -> bool:
        request = dataclasses.replace(READ, resource=f"arn:aws:s3:::raw/{key}")
        return simulator.allowed(request, [document])

    neighbour = prefix.replace("*", "Z").replace("?", "Z").replace("${aws:userid}", READ.user_id).replace("$/", "S/")
    if not set(prefix) & set("*?"):  # a request may not hold one, to the simulator
        assert reads(f"{prefix}x.wav")
        assert not reads(f"other/{prefix}x.wav")
    assert neighbour == prefix or not reads(f"{neighbour}x.wav")
    assert not reads("x.wav")


def test_every_kind_of_statement_is_clean(simulator: Simulator):
    """To parliament; the simulator lets pass what was seen, of the very kind."""
    places = {kind: frozenset({Place("raw", "42/")}) for kind in ("read", "write", "delete", "restore", "list")}
    key = f"arn:aws:kms:us-east-1:{ACCOUNT}:key/11111111-2222-3333-4444-555555555555"
    made = scoped(Seen(places, KNOWN, frozenset({key, "alias/no-arn"})))
    assert made.document is not None
    plain = [prefix for prefix in HOSTILE if "${" not in prefix]  # `${$}{` is no ARN to parliament; see the simulator
    assert lint([made.document, *(scoped(seen(prefix)).document for prefix in plain)]) == []
    for action, resource, wanted in (
        ("s3:PutObject", "arn:aws:s3:::raw/42/a", True),
        ("s3:PutObject", "arn:aws:s3:::raw/43/a", False),
        ("s3:DeleteObject", "arn:aws:s3:::raw/42/a", True),
        ("s3:PutObjectAcl", "arn:aws:s3:::raw/42/a", False),
    ):
        assert simulator.allowed(dataclasses.replace(READ, action=action, resource=resource), [made.document]) is wanted
    # To the simulator a key's own policy has to allow it, too: of keys only what the policy says is looked at.
    assert [one["Resource"] for one in made.document["Statement"] if "kms:Decrypt" in one["Action"]] == [[key]]
    listing = dataclasses.replace(READ, action="s3:ListBucket", resource="arn:aws:s3:::raw")
    for below, wanted in (("42/", True), ("42/x", True), ("43/", False), ("", False)):
        request = dataclasses.replace(listing, context={"s3:prefix": below})
        assert simulator.allowed(request, [made.document]) is wanted


def test_a_session_with_it_reads_its_prefix_and_no_other(emulator: Emulator):
    """As a policy of a role, in ministack, which has no session policies."""
    bucket = emulator.bucket("42/a", "43/a")
    made = scoped(seen("42/", bucket=bucket))
    role = emulator.role(allow=made.document)
    session = emulator.assume(role, "contractor-42")
    assert emulator.can_read(session, bucket, "42/a")
    assert not emulator.can_read(session, bucket, "43/a")
    assert emulator.can_read(emulator.assume(emulator.role(allow=ALL_OF_S3), "contractor-42"), bucket, "43/a")


def test_what_does_not_fit_is_made_wider_and_said():
    """Folder by folder, down to whole buckets; too many buckets get no policy, not a wrong one."""
    many = [f"project/{number:04}/" for number in range(500)]
    made = scoped(seen(*many, "apart/"))
    assert made.places == (Place("raw", "apart/"), Place("raw", "project/"))
    assert made.widened == (Place("raw", "project/"),)
    root = scoped(seen(*(f"{number:04}/" for number in range(500))))
    assert root.widened == root.places == (Place("raw", ""),)
    buckets = frozenset(Place(f"bucket-{number:04}", "") for number in range(500))
    none = scoped(Seen({"read": buckets}, frozenset({"GetObject"})))
    assert none.document is None
    assert none.left_out == ("GetObject",)


def test_characters_that_no_policy_may_hold_end_a_prefix():
    made = scoped(seen("né/日本/x/"))
    assert made.places == (Place("raw", "né/"),) == made.widened


@pytest.mark.parametrize(("longest", "seconds"), [(0, 900), (900, 900), (901, 1800), (3599, 3600), (10**6, 43_200)])
def test_a_lifetime_is_a_quarter_of_an_hour_or_more(longest: int, seconds: int):
    assert lifetime(longest) == seconds


def test_what_is_not_known_is_left_out_and_said():
    made = scoped(seen("42/", apis="GetObject PutBucketPolicy HeadBucket"))
    assert made.left_out == ("HeadBucket", "PutBucketPolicy")
    assert [one["Sid"] for one in made.document["Statement"]] == ["Read"]


def test_every_api_is_of_the_table_of_operations():
    assert set(CLASS) >= KNOWN
