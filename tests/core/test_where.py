"""What each field of a `where` leaves of a batch; `unless`; lists of addresses beside rule files."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import Log, Operation, Outcome, Row, text_hash
from detector.core.addresses import Networks, network
from detector.core.builder import BatchBuilder
from detector.core.principal import Principal, anonymous, service
from detector.core.rule import Where
from detector.core.rulefile import read_rules
from detector.core.select import Selector
from detector.errors import RuleFileError
from tests.streams import principal, rule

NINE = 1_777_626_000  # 2026-05-01T09:00:00Z
HOUR = 3600
READER = principal("reader")._replace(
    access_key="ASIA1", mfa=False, issued_at=NINE - 2 * HOUR, source_identity="dana", invoked_by=None
)
OTHERS = READER._replace(session="x", account="444455556666")
USER = Principal("IAMUser", "u", "u", "u", "u", "111122223333", access_key="AKIA1", mfa=True)


def row(log=Log.cloudtrail, who=READER, **columns):
    base = Row(log, NINE, 1, "p", operation=Operation.read, who=who, api="GetObject", bucket="b", key="k")
    return base._replace(**columns)


def counted(where, *rows):
    """Which of these rows a rule with this `where` counts."""
    into = BatchBuilder()
    for number, one in enumerate(rows):
        into.add(one._replace(id=text_hash(str(number))))
    return Selector(Where.model_validate(where)).mask(into.build()).tolist()


IN, OUT = True, False
CASES = [
    ({"error_code": "Access*", "outcome": "any"}, [
        (row(error_code="AccessDenied"), IN), (row(error_code="NoSuchKey"), OUT), (row(), OUT)]),
    ({"change": ("public_policy", "logging_off"), "operation": "control"}, [
        (row(operation=Operation.control, change="foreign_policy public_policy"), IN),
        (row(operation=Operation.control, change="not_public_policy"), OUT), (row(operation=Operation.control), OUT)]),
    ({"bucket_account": "1111*"}, [(row(bucket_account="111122223333"), IN), (row(), OUT)]),
    ({"version_id": "*"}, [(row(version_id="v1"), IN), (row(version_id="null"), IN), (row(), OUT)]),
    ({"account_is": "own"}, [
        (row(bucket_account="111122223333"), IN), (row(bucket_account="444455556666"), OUT), (row(), OUT),
        (row(who=anonymous("192.0.2.1"), bucket_account="anonymous"), OUT)]),
    ({"account_is": "foreign"}, [
        (row(bucket_account="111122223333"), OUT), (row(who=OTHERS, bucket_account="111122223333"), IN), (row(), OUT),
        (row(who=anonymous("192.0.2.1"), bucket_account="1"), OUT),
        (row(who=service("x.amazonaws.com", None), bucket_account="1"), OUT)]),
    ({"destination_is": "foreign"}, [
        (row(destination_account="111122223333"), OUT), (row(destination_account="444455556666"), IN), (row(), OUT)]),
    ({"destination_is": "own"}, [(row(destination_account="111122223333"), IN), (row(destination_account="4"), OUT)]),
    ({"access_key": "AKIA*"}, [(row(who=USER), IN), (row(), OUT), (row(who=anonymous(None)), OUT)]),
    ({"source_identity": "dana"}, [(row(), IN), (row(who=USER), OUT)]),
    ({"mfa": False}, [(row(), IN), (row(who=USER), OUT), (row(who=anonymous(None)), OUT)]),
    ({"mfa": True}, [(row(), OUT), (row(who=USER), IN)]),
    ({"invoked_by": "*.amazonaws.com"}, [(row(who=service("athena.amazonaws.com", None)), IN), (row(), OUT)]),
    ({"session_age_over": "2h"}, [(row(), OUT), (row(time=NINE + 1), IN), (row(who=USER, time=NINE + 10**6), OUT)]),
    ({"signed_for_over": "12h"}, [
        (row(signed_for=12 * HOUR), OUT), (row(signed_for=12 * HOUR + 1), IN), (row(), OUT)]),
    ({"signed_age_over": "1h"}, [
        (row(signed_at=NINE - HOUR), OUT), (row(signed_at=NINE - HOUR - 1), IN), (row(), OUT)]),
    ({"source_ip": ("10.0.0.0/8", "2001:db8::/32", "192.0.2.?")}, [
        (row(source_ip="10.255.255.255"), IN), (row(source_ip="11.0.0.0"), OUT), (row(source_ip="2001:db8::7"), IN),
        (row(source_ip="::ffff:10.1.2.3"), IN), (row(source_ip="192.0.2.7"), IN), (row(source_ip="192.0.2.70"), OUT),
        (row(source_ip="s3.amazonaws.com"), OUT), (row(source_ip="1" * 10_000), OUT), (row(), OUT)]),
    ({"source_ip": "10.1.2.3/8"}, [(row(source_ip="10.9.9.9"), IN), (row(source_ip="\0"), OUT)]),
    ({"sse": "*_S3"}, [(row(sse="Default_SSE_S3"), IN), (row(sse="SSE_KMS"), OUT), (row(), OUT)]),
    ({"kms_key": "arn:*"}, [(row(kms_key="arn:aws:kms:x:1:key/k"), IN), (row(), OUT)]),
    ({"destination_account": "4*"}, [(row(destination_account="4444"), IN), (row(), OUT)]),
    ({"purpose": "label*", "log": "access_audit"}, [
        (row(Log.access_audit, purpose="labelling"), IN), (row(Log.access_audit), OUT),
        (row(purpose="labelling"), OUT)]),
    ({"retention": {"key": "raw/{yyyy}/{mm}/{dd}/*.wav", "keep": "1d"}}, [
        (row(key="raw/2026/04/29/a.wav"), IN), (row(key="raw/2026/04/29/b/a.wav"), OUT),
        (row(key="raw/2026/04/30/a.wav"), OUT), (row(key="raw/2026/13/01/a.wav"), OUT),
        (row(key="raw/0000/01/01/a.wav"), OUT), (row(key="raw/٢٠٢٦/04/29/a.wav"), OUT), (row(key=None), OUT)]),
    ({"retention": {"key": ("{yyyy}/{mm}/**", "{yyyy}-{yyyy}{mm}{dd}"), "keep": "1d"}}, [
        (row(key="2026/03/a"), IN), (row(key="2026/04/a"), OUT), (row(key="2026-20260101"), IN),
        (row(key="2025-20260101"), OUT)]),
    ({"retention": {"key": "{yyyy}", "keep": "0s"}}, [
        (row(key="2025"), IN), (row(key="2026"), OUT), (row(key="9999"), OUT)]),
    ({"unless": {"bucket": "b", "key": "x*"}}, [(row(), IN), (row(key="x1"), OUT), (row(key=None), IN)]),
    ({"unless": {"kms_key": "k"}}, [
        (row(), IN), (row(kms_key="k"), OUT), (row(kms_key="other"), IN), (row(Log.server_access), OUT)]),
    ({"unless": {"outcome": "error"}, "outcome": "any"}, [(row(), IN), (row(outcome=Outcome.error), OUT)]),
    ({"unless": {"operation": ("GetObject", "copy")}}, [
        (row(), OUT), (row(api="HeadObject", operation=Operation.head), IN),
        (row(api="x", operation=Operation.copy), OUT)]),
]  # fmt: skip


@pytest.mark.parametrize(("where", "cases"), CASES, ids=[str(where)[:60] for where, _ in CASES])
def test_a_field_counts_these_records_and_not_those(where, cases):
    """At the edge, null, and of the wrong form."""
    assert counted(where, *(one for one, _ in cases)) == [expected for _, expected in cases]


def test_a_day_is_kept_until_its_end_and_the_time_after_it():
    """In UTC; the very second counts."""
    over = int(datetime(2026, 2, 1, tzinfo=UTC).timestamp()) + 90 * 86_400
    where = {"retention": {"key": "{yyyy}-{mm}-{dd}", "keep": "90d"}}
    assert counted(where, *(row(key="2026-01-31", time=over + n) for n in (-1, 0))) == [False, True]


@given(
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from([None, "k1", "k2"]), st.sampled_from([0, 2])), max_size=9)
)
def test_unless_is_the_rest(rows):
    """Of a log that has all columns: what counts with `unless`, and what counts with its fields, is all."""
    given_ = [row(bucket=bucket, kms_key=key, outcome=Outcome(outcome)) for bucket, key, outcome in rows]
    fields = {"bucket": "a", "kms_key": "*1"}
    rest = counted({"outcome": "any", "unless": fields}, *given_)
    assert [not one for one in rest] == counted({"outcome": "any"} | fields, *given_)


@pytest.mark.parametrize(
    ("where", "told"),
    [
        ("{source_ip: 10.0.0.0/99}", "where.source_ip: expected an address, a glob or a network"),
        ("{change: public_polcy}", "where.change: expected 'public_policy'"),
        ("{mfa: maybe}", "where.mfa:"),
        ("{account_is: mine}", "where.account_is: expected 'own' or 'foreign'"),
        ("{retention: {key: raw/*, keep: 1d}}", "where.retention.key: expected {yyyy}"),
        ("{retention: {key: 'raw/{yyyy}/{dd}', keep: 1d}}", "where.retention.key: expected {yyyy}"),
        ("{retention: {key: 'raw/{year}', keep: 1d}}", "where.retention.key: expected {yyyy}"),
        ("{session_age_over: long}", "where.session_age_over: expected a duration"),
        ("{purpose: x}", "where: expected `log: access_audit` beside purpose"),
        ("{unless: {purpose: x}}", "where: expected `log: access_audit` beside purpose"),
        ("{unless: {bukcet: x}}", "where.unless.bukcet: unknown field; did you mean 'bucket'?"),
        ("{unless: {operation: reed}}", "where.unless.operation: expected a class"),
        ("{unless: {unless: {}}}", "where.unless.unless: unknown field"),
        ("{source_ip_in: ../bad.txt}", "where.source_ip_in: expected the name of a file beside this one"),
        ("{source_ip_in: none.txt}", "where.source_ip_in: expected a file beside this one, found no 'none.txt'"),
        ("{source_ip_in: []}", "where.source_ip_in: expected the name of a file"),
    ],
)
def test_mistakes_are_told(where, told):
    """With the field, and what was expected."""
    with pytest.raises(RuleFileError) as error:
        read_rules({"r.yaml": FILE % where})
    assert told in str(error.value)


FILE = """rules:
  - {id: r, title: t, severity: high, kind: threshold, measure: requests, window: 1m, threshold: 1, where: %s}
"""
LIST = """# a feed
203.0.113.0/24 ; Example Net
2001:db8::1, a host

198.51.100.7\t# another
"""


def test_a_list_beside_the_rule_file_is_read():
    """Its remarks are none of it; of files in other folders of the same name each rule file has its own."""
    files = {"a/r.yaml": FILE % "{source_ip_in: bad.txt}", "a/bad.txt": LIST, "bad.txt": "10.0.0.0/8", "other.txt": "x"}
    (rule_,) = read_rules(files)
    rows = [row(source_ip=ip) for ip in ("203.0.113.255", "203.0.114.0", "2001:db8::1", "198.51.100.7", "10.0.0.1")]
    into = BatchBuilder()
    for one in rows:
        into.add(one)
    assert Selector(rule_.where).mask(into.build()).tolist() == [True, False, True, True, False]


def test_a_rule_counts_something_else_when_its_list_changed():
    """Its digest is of what stands in the list; its wording is not."""
    one, same, other = (
        read_rules({"r.yaml": FILE % "{source_ip_in: bad.txt}", "bad.txt": text})[0]
        for text in (LIST, LIST, LIST + "192.0.2.1\n")
    )
    assert one == same
    assert one != other
    assert one.digest() == same.digest() != other.digest()


def test_lines_of_a_list_that_are_no_addresses_are_told_with_their_place():
    """The first twenty of them; a hostile list costs nothing more."""
    text = "10.0.0.1\nwww.example.org\n" + "x\n" * 30
    with pytest.raises(RuleFileError) as error:
        read_rules({"r.yaml": FILE % "{source_ip_in: bad.txt}", "bad.txt": text})
    told = str(error.value)
    assert "bad.txt:2:1: expected an address or a network such as 203.0.113.0/24, got 'www.example.org'" in told
    assert "11 more lines" in told


nets_ = st.builds(
    lambda number, bits: network(f"10.0.{number // 256}.{number % 256}/{bits}"),
    st.integers(0, 65_535),
    st.integers(20, 32),
)


@given(st.lists(nets_, max_size=12), st.lists(st.integers(0, 65_535), min_size=1, max_size=20))
def test_an_address_is_in_a_list_if_it_is_in_one_of_its_networks(nets, numbers):
    """However they overlap and touch."""
    networks = Networks(nets)
    for number in numbers:
        address = f"10.0.{number // 256}.{number % 256}"
        assert (address in networks) == any(network(address).network_address in net for net in nets)


def test_a_rule_without_a_field_has_the_digest_it_had():
    """A field that is new to the language lets the windows of other rules be."""
    plain = rule()
    assert plain.digest() == rule(where={"operation": "read", "unless": None, "mfa": None}).digest()
    assert np.unique([plain.digest(), rule(where={"operation": "read", "mfa": True}).digest()]).size == 2
