"""The judges of policies judge right, by examples whose answer is known, and refuse what they cannot judge."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from contextlib import suppress
from typing import Any

import pytest
from botocore.exceptions import ClientError

from detector.core.times import iso
from tests.iam import (
    ALL_OF_S3,
    FULL_ACCESS,
    Credentials,
    Document,
    Emulator,
    Request,
    Simulator,
    lint,
    wait_past,
)
from tests.ministack import Server

ACCOUNT, OTHER = "111122223333", "444455556666"
ROLE = f"arn:aws:iam::{ACCOUNT}:role/vendors/Reader"
THIEF = "AROAEXAMPLEEXAMPLE123:thief"
ISSUED = "2026-05-01T12:00:00Z"
READ = Request(
    principal_arn=ROLE,
    user_id=THIEF,
    account=ACCOUNT,
    action="s3:GetObject",
    resource="arn:aws:s3:::raw/a.wav",
    resource_account=ACCOUNT,
    context={"aws:TokenIssueTime": ISSUED, "aws:SourceIp": "203.0.113.9"},
)


def policy(effect: str, condition: Any = None, **parts: Any) -> Document:
    statement = {"Effect": effect, "Action": "*", "Resource": "*"} | ({"Condition": condition} if condition else {})
    return {"Version": "2012-10-17", "Statement": [statement | parts]}


def on_bucket(bucket: str, effect: str, principal: Any, condition: Any = None) -> Document:
    resources = [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"]
    return policy(effect, condition, Principal=principal, Action="s3:*", Resource=resources)


def of_session(user_id: str, issued: str) -> dict[str, dict[str, str]]:
    return {"StringEquals": {"aws:userid": user_id}, "DateLessThanEquals": {"aws:TokenIssueTime": issued}}


class TestBoth:
    """The two agree where both can judge."""

    def test_a_denied_session_is_denied_and_no_other(self, simulator: Simulator, emulator: Emulator) -> None:
        role, other, bucket = emulator.role("/vendors/"), emulator.role(), emulator.bucket()
        offender, bystander = emulator.assume(role, "offender"), emulator.assume(role, "bystander")
        assert offender.issued is not None
        denial = policy("Deny", of_session(offender.user_id, iso(offender.issued)))
        emulator.put(role, denial)
        wait_past(offender)
        later, elsewhere = emulator.assume(role, "offender"), emulator.assume(other, "offender")

        def reads(credentials: Credentials, *policies: Document) -> tuple[bool, bool]:
            request = emulator.request(credentials, bucket)
            return simulator.allowed(request, [ALL_OF_S3, *policies]), emulator.can_read(credentials, bucket)

        assert reads(offender, denial) == (False, False)
        assert reads(bystander, denial) == (True, True)
        assert reads(later, denial) == (True, True)
        assert reads(elsewhere) == (True, True)

    def test_a_bucket_policy_denies_a_session_and_no_other(self, simulator: Simulator, emulator: Emulator) -> None:
        role, bucket = emulator.role(), emulator.bucket()
        offender, bystander = emulator.assume(role, "offender"), emulator.assume(role, "bystander")
        assert offender.issued is not None
        session = emulator.request(offender, bucket).principal
        for denial in (
            on_bucket(bucket, "Deny", "*", of_session(offender.user_id, iso(offender.issued))),
            on_bucket(bucket, "Deny", {"AWS": session}),
        ):
            emulator.bucket_policy(bucket, denial)
            for credentials, wanted in ((offender, False), (bystander, True)):
                request = emulator.request(credentials, bucket)
                assert simulator.allowed(request, [ALL_OF_S3], denial) is wanted
                assert emulator.can_read(credentials, bucket) is wanted
        emulator.bucket_policy(bucket, None)
        assert emulator.can_read(offender, bucket)

    @pytest.mark.parametrize(
        ("condition", "denied"),
        [
            ({"StringNotEquals": {"aws:SourceVpc": "vpc-1"}}, True),  # negated: true of a missing key
            ({"StringNotEquals": {"aws:SourceVpce": ["vpce-1", "vpce-2"]}}, True),
            ({"StringNotLike": {"aws:SourceIdentity": "a*"}}, True),
            ({"StringEquals": {"aws:SourceVpc": "vpc-1"}}, False),
            ({"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}, True),
            ({"Null": {"aws:SourceVpc": "true"}}, True),
            ({"Null": {"aws:userid": "true"}}, False),
            ({"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "192.168.0.0/16"]}}, True),
            ({"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "127.0.0.0/8"]}}, False),
            ({"IpAddress": {"aws:SourceIp": "127.0.0.1/32"}}, True),
            ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}, "StringEquals": {"aws:SourceVpc": "vpc-1"}}, False),
            ({"DateLessThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"}}, False),
            ({"DateGreaterThan": {"aws:TokenIssueTime": "2020-01-01T00:00:00Z"}}, True),
            ({"Bool": {"aws:SecureTransport": "false"}}, False),
            ({"StringLike": {"aws:userid": "*:offender"}}, True),
            ({"StringLike": {"aws:userid": "*:off"}}, False),
        ],
        ids=str,
    )
    def test_conditions(self, simulator: Simulator, emulator: Emulator, condition: Any, denied: bool) -> None:
        role, bucket = emulator.role(), emulator.bucket()
        session = emulator.assume(role, "offender")
        denial = policy("Deny", condition)
        emulator.put(role, denial)
        assert simulator.allowed(emulator.request(session, bucket), [ALL_OF_S3, denial]) is not denied
        assert emulator.can_read(session, bucket) is not denied

    def test_nothing_is_allowed_that_no_policy_allows(self, simulator: Simulator, emulator: Emulator) -> None:
        nothing, bucket = policy("Deny", Action="ec2:*"), emulator.bucket()
        for identity in (emulator.role(allow=nothing), emulator.role(boundary=nothing)):
            session = emulator.assume(identity, "anyone")
            assert not emulator.can_read(session, bucket)
            assert not simulator.allowed(emulator.request(session, bucket), [nothing])
            assert not simulator.allowed(emulator.request(session, bucket), [ALL_OF_S3], boundary=nothing)
        within = emulator.assume(emulator.role(boundary=FULL_ACCESS), "anyone")
        assert emulator.can_read(within, bucket)
        assert simulator.allowed(emulator.request(within, bucket), [ALL_OF_S3], boundary=FULL_ACCESS)

    def test_a_user_her_key_and_her_session(self, simulator: Simulator, emulator: Emulator) -> None:
        user, bucket = emulator.user("/staff/"), emulator.bucket()
        key = emulator.access_key(user)
        session = emulator.session_token(key)
        assert key.issued is None
        assert session.issued is not None
        by_id = policy("Deny", {"StringEquals": {"aws:userid": user.unique_id, "aws:username": user.name}})
        by_time = policy("Deny", {"DateLessThanEquals": {"aws:TokenIssueTime": iso(session.issued)}})
        for denial, of_key, of_her_session in ((by_id, False, False), (by_time, True, False)):
            name = emulator.put(user, denial)
            for credentials, wanted in ((key, of_key), (session, of_her_session)):
                assert emulator.can_read(credentials, bucket) is wanted
                assert simulator.allowed(emulator.request(credentials, bucket), [ALL_OF_S3, denial]) is wanted
            emulator.delete(user, name)
        assert emulator.can_read(key, bucket)
        assert emulator.can_read(session, bucket)


class TestSimulator:
    @pytest.mark.parametrize(
        ("condition", "context", "denied"),
        [
            ({"Bool": {"aws:ViaAWSService": "false"}}, {}, True),
            ({"Bool": {"aws:ViaAWSService": "false"}}, {"aws:viaawsservice": "true"}, False),
            ({"ArnEquals": {"aws:PrincipalArn": ROLE}}, {}, True),
            ({"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}, {"s3:authType": "REST-QUERY-STRING"}, True),
            ({"StringEquals": {"s3:authType": "REST-QUERY-STRING"}}, {"s3:authType": "REST-HEADER"}, False),
            ({"NumericGreaterThan": {"s3:signatureAge": "60000"}}, {"s3:signatureAge": "60001"}, True),
            ({"NumericGreaterThan": {"s3:signatureAge": "60000"}}, {"s3:signatureAge": "60000"}, False),
            ({"StringNotEquals": {"aws:SourceVpce": ["vpce-1"]}}, {"aws:SourceVpce": "vpce-1"}, False),
            ({"StringNotEquals": {"aws:SourceVpce": ["vpce-1"]}}, {"aws:SourceVpce": "vpce-2"}, True),
            ({"StringEquals": {"aws:SourceIdentity": "alice"}}, {"aws:SourceIdentity": "alice"}, True),
            ({"ForAnyValue:StringEquals": {"aws:CalledVia": ["athena.amazonaws.com"]}},
             {"aws:CalledVia": ["athena.amazonaws.com", "s3.amazonaws.com"]}, True),
            ({"DateLessThan": {"aws:CurrentTime": ISSUED}}, {"aws:CurrentTime": "2026-05-01T11:59:59Z"}, True),
            ({"DateLessThanEquals": {"aws:TokenIssueTime": "2026-05-01T11:59:59.999Z"}}, {}, False),
            ({"StringEquals": {"aws:userid": "${aws:userid}"}}, {}, True),
        ],
        ids=str,
    )  # fmt: skip
    def test_conditions(self, simulator: Simulator, condition: Any, context: Any, denied: bool) -> None:
        request = dataclasses.replace(READ, context=dict(READ.context) | context)
        assert simulator.allowed(request, [FULL_ACCESS, policy("Deny", condition)]) is not denied

    def test_across_accounts_both_policies_must_allow(self, simulator: Simulator) -> None:
        request = dataclasses.replace(READ, resource_account=OTHER)
        session = f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/thief"
        assert request.principal == session
        for principal in (session, ROLE, ACCOUNT, f"arn:aws:iam::{ACCOUNT}:root"):
            shared = on_bucket("raw", "Allow", {"AWS": principal})
            assert simulator.allowed(request, [ALL_OF_S3], shared)
            assert not simulator.allowed(request, [], shared)
        assert not simulator.allowed(request, [ALL_OF_S3])
        assert not simulator.allowed(request, [ALL_OF_S3], on_bucket("raw", "Allow", {"AWS": f"{session}-of-none"}))

    def test_within_an_account_either_is_enough(self, simulator: Simulator) -> None:
        shared = on_bucket("raw", "Allow", {"AWS": ROLE})
        assert simulator.allowed(READ, [ALL_OF_S3])
        assert simulator.allowed(READ, [], shared)
        assert not simulator.allowed(READ, [], on_bucket("another", "Allow", {"AWS": ROLE}))

    def test_an_scp_denies_and_one_that_only_denies_allows_nothing(self, simulator: Simulator) -> None:
        denial = policy("Deny", {"StringEquals": {"aws:userid": THIEF}})
        bystander = dataclasses.replace(READ, user_id=THIEF.replace("thief", "bystander"))
        assert not simulator.allowed(READ, [ALL_OF_S3], scps=[FULL_ACCESS, denial])
        assert simulator.allowed(bystander, [ALL_OF_S3], scps=[FULL_ACCESS, denial])
        assert not simulator.allowed(bystander, [ALL_OF_S3], scps=[denial])

    @pytest.mark.parametrize(
        ("condition", "said"),
        [
            ({"StringEqual": {"aws:userid": THIEF}}, "no such condition operator: StringEqual"),
            ({"StringNotEqualTo": {"aws:userid": THIEF}}, "no such condition operator"),
            ({"NullIfExists": {"aws:userid": "true"}}, "no such condition operator"),
            ({"StringEquals": {"aws:user_id": THIEF}}, "no such condition key: aws:user_id"),
            ({"StringEquals": {"s3:sgnatureAge": "1"}}, "no such condition key"),
            ({"StringEquals": {"aws:userid": "${aws:user}"}}, "no such condition key: aws:user"),
            ({"StringEquals": {"aws:userid": []}}, "no values"),
            ({"DateLessThan": {"aws:TokenIssueTime": "yesterday"}}, "cannot be read"),
            ({"DateLessThan": {"aws:TokenIssueTime": "1777636800"}}, "cannot be read"),
            ({"NotIpAddress": {"aws:SourceIp": "10.0.0.0/33"}}, "cannot be read"),
            ({"Bool": {"aws:ViaAWSService": "no"}}, "cannot be read"),
            ({"NumericLessThan": {"s3:signatureAge": "1m"}}, "cannot be read"),
            ({"DateLessThan": {"aws:CurrentTime": ISSUED}}, "the request must say aws:CurrentTime"),
        ],
        ids=str,
    )
    def test_what_would_silently_never_match_is_refused(self, simulator: Simulator, condition: Any, said: str) -> None:
        wrong = policy("Deny", condition)
        shared = on_bucket("raw", "Deny", "*", condition)
        for given in (
            {"identity": [ALL_OF_S3, wrong]},
            {"identity": [ALL_OF_S3], "resource_policy": shared},
            {"identity": [ALL_OF_S3], "boundary": wrong},
            {"identity": [ALL_OF_S3], "scps": [FULL_ACCESS, wrong]},
        ):
            with pytest.raises(AssertionError, match=said):
                simulator.allowed(READ, **given)

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"context": {"aws:TokenIssuedTime": ISSUED}}, "has no context key aws:TokenIssuedTime"),
            ({"context": {"iam:PassedToService": "x"}}, "has no context key iam:PassedToService"),
            ({"action": "s3:GetObjekt"}, "invalid.action"),
            ({"resource": "arn:aws:s3:::raw"}, "no.resource.types"),
            ({"resource": "arn:aws:s3:::raw/*"}, "no wildcard"),
        ],
        ids=str,
    )
    def test_a_request_that_cannot_be_is_refused(self, simulator: Simulator, change: Any, said: str) -> None:
        with pytest.raises(AssertionError, match=said):
            simulator.allowed(dataclasses.replace(READ, **change), [FULL_ACCESS])

    def test_a_broken_policy_is_refused_and_the_next_one_is_judged(self, simulator: Simulator) -> None:
        for broken in (policy("Denied"), {"Version": "2012-10-17"}, policy("Deny", Principal="*")):
            with pytest.raises(AssertionError):
                simulator.allowed(READ, [ALL_OF_S3, broken])
        assert simulator.allowed(READ, [ALL_OF_S3])

    def test_a_simulator_that_has_died_judges_nothing(self) -> None:
        command = [sys.executable, "-c", ""]
        dead = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        with suppress(BrokenPipeError), dead, pytest.raises(RuntimeError, match="ended with status 0"):
            Simulator(dead).allowed(READ)

    def test_an_account_that_is_not_the_principals_is_a_mistake(self) -> None:
        with pytest.raises(ValueError, match=OTHER):
            dataclasses.replace(READ, account=OTHER)


class TestLint:
    def test_clean_policies(self) -> None:
        denial = of_session(THIEF, ISSUED)
        session = {"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader/thief"}
        away = {"StringNotEquals": {"aws:SourceVpce": "vpce-1"}, "Bool": {"aws:ViaAWSService": "false"}}
        network = {"NotIpAddress": {"aws:SourceIp": ["10.0.0.0/8", "2001:db8::/32"]}}
        assert lint([
            policy("Deny", denial),
            policy("Deny", network),
            policy("Deny", away, Action=["s3:GetObject", "s3:PutObject"]),
            on_bucket("raw", "Deny", session),
            on_bucket("raw", "Deny", "*", denial),
        ]) == []  # fmt: skip

    @pytest.mark.parametrize(
        ("wrong", "said"),
        [
            (policy("Deny", {"StringEqual": {"aws:userid": THIEF}}), "UNKNOWN_OPERATOR: StringEqual"),
            (policy("Deny", {"StringEquals": {"aws:user_id": THIEF}}, Action="s3:GetObject"), "UNKNOWN_CONDITION"),
            (policy("Deny", {"DateLessThan": {"aws:TokenIssueTime": "yesterday"}}), "MISMATCHED_TYPE"),
            (policy("Deny", {"NotIpAddress": {"aws:SourceIp": "home"}}), "MISMATCHED_TYPE"),
            (policy("Deny", {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/33"}}), "MISMATCHED_TYPE"),
            (policy("Deny", Action="s3:GetObjekt"), "UNKNOWN_ACTION"),
            (policy("Deny", Sid="has spaces"), "INVALID_SID"),
            (policy("Deny", Resource="arn:aws:s3::raw"), "INVALID_ARN"),
            (on_bucket("raw", "Deny", {"AWS": "Reader"}), "UNKNOWN_PRINCIPAL"),
            (on_bucket("raw", "Deny", {"AWS": f"arn:aws:sts::{ACCOUNT}:assumed-role/Reader"}), "UNKNOWN_PRINCIPAL"),
            ({"Statement": policy("Deny")["Statement"]}, "NO_VERSION"),
            ({"Version": "2012-10-17"}, "MALFORMED"),
        ],
    )
    def test_a_wrong_policy_is_named(self, wrong: Document, said: str) -> None:
        found = lint([policy("Deny"), wrong])
        assert any(one.startswith(f"policy 1: {said}") for one in found), found
        assert not any(one.startswith("policy 0") for one in found)

    def test_no_policies_no_findings(self) -> None:
        assert lint([]) == []


class TestEmulator:
    def test_an_inactive_key_is_an_error_and_no_denial(self, emulator: Emulator) -> None:
        user, bucket = emulator.user(), emulator.bucket()
        key = emulator.access_key(user)
        assert emulator.can_read(key, bucket)
        emulator.deactivate(user, key)
        with pytest.raises(ClientError, match="InvalidAccessKeyId"):
            emulator.can_read(key, bucket)
        with pytest.raises(ClientError, match="NoSuchKey"):
            emulator.can_read(emulator.access_key(user), bucket, "not there")

    def test_an_account_reads_anothers_bucket_if_both_allow(self, emulator: Emulator, ministack_server: Server) -> None:
        other = Emulator(ministack_server, OTHER)
        bucket, role = emulator.bucket(), other.role()
        guest = other.assume(role, "guest")
        assert guest.account == OTHER
        assert not emulator.can_read(guest, bucket)
        emulator.bucket_policy(bucket, on_bucket(bucket, "Allow", {"AWS": OTHER}))
        assert other.can_read(guest, bucket)
        other.put(role, policy("Deny", {"StringEquals": {"aws:userid": guest.user_id}}))
        assert not other.can_read(guest, bucket)
