"""Laws of the levels that are no column of the log: person, peer group, source network."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from detector.core.access import Log
from detector.core.asked import ABSENT, asked
from detector.core.builder import BatchBuilder
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.rule import Levels, Rule
from detector.logs import cloudtrail, server_access
from detector.watches import watches
from tests.records import ACCOUNT, NINE, assumed_role, file_of, iam_user, record
from tests.streams import rule

SSO = f"arn:aws:iam::{ACCOUNT}:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Analyst_4f6c1d2a9be03857"


def session(role: str, name: str, arn: str | None = None, **context: str) -> dict[str, object]:
    """A session of a role; `context`: source identity."""
    issuer = {"type": "Role", "principalId": f"AROA{role}", "arn": arn or f"arn:aws:iam::{ACCOUNT}:role/{role}"}
    return assumed_role(
        principalId=f"AROA{role}:{name}",
        arn=f"arn:aws:sts::{ACCOUNT}:assumed-role/{role}/{name}",
        accessKeyId=f"ASIA{name}",
        sessionContext={"sessionIssuer": issuer, **context},
    )


def reads(identities: list[dict[str, object]], **changes: object) -> list[dict[str, object]]:
    """One read by each, a second apart."""
    return [
        record(userIdentity=who, eventID=f"e{n}", eventTime=stamp(NINE + n), **changes)
        for n, who in enumerate(identities)
    ]


def stamp(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def found(rules: list[Rule], records: list[dict[str, object]]) -> list[Finding]:
    builder = BatchBuilder()
    assert cloudtrail.parse(file_of(records), "f", builder)
    return findings(rules, builder)


def findings(rules: list[Rule], builder: BatchBuilder) -> list[Finding]:
    engine = Engine(rules, watches())
    engine.process(builder.build(), NINE)
    told = [f for f in engine.finish() if f.state == "closed"]
    assert engine.failures == {}
    return told


def values(records: list[dict[str, object]], level: str, **more: object) -> dict[str, int]:
    """Every group at a level and its requests."""
    return {
        f.group[level]: int(f.peak_value) for f in found([rule("requests", 60, 1, group_by=level, **more)], records)
    }


def test_a_person_is_one_over_roles_sessions_and_keys():
    """Source identity holds through role chains; a thief who changes roles stays who he is."""
    who = [session("A", "x", sourceIdentity="dana"), session("B", "y", sourceIdentity="dana"), session("A", "z")]
    assert values(reads(who), "person") == {"dana": 2, "AROAA:z": 1}


def test_a_person_of_identity_center_is_told_by_the_user_or_the_name_of_the_session():
    """The session of an Identity Center role bears the user's name; any other session name is its maker's choice."""
    named = session("AWSReservedSSO_Analyst_4f6c1d2a9be03857", "dana", SSO)
    behalf = session("Portal", "x") | {"onBehalfOf": {"userId": "544894e8-1", "identityStoreArn": "arn:x"}}
    user = {"type": "IdentityCenterUser", "accountId": ACCOUNT, "onBehalfOf": {"userId": "544894e8-1"}}
    imitator = session("Reader", "dana")
    fake = session("AWSReservedSSO_Fake", "dana", f"arn:aws:iam::{ACCOUNT}:role/AWSReservedSSO_Fake")
    told = values(reads([named, behalf, user, imitator, fake]), "person")
    assert told == {"dana": 1, "544894e8-1": 2, "AROAReader:dana": 1, "AROAAWSReservedSSO_Fake:dana": 1}


def test_a_finding_names_the_identity_center_user():
    """Whoever has to end the user's sessions there needs the id."""
    behalf = session("Portal", "x") | {"onBehalfOf": {"userId": "544894e8-1"}}
    (finding,) = found([rule("requests", 60, 2)], reads([behalf] * 2))
    assert finding.principal["identity_center_user"] == "544894e8-1"


def test_every_record_has_a_person():
    """Users, services, nobody: without a person the session's key stands for it, and no record falls out."""
    others = [
        iam_user(),
        {"type": "AWSService", "invokedBy": "glue.amazonaws.com"},
        {"type": "AWSAccount", "principalId": "", "accountId": "anonymous"},
        {},
    ]
    told = values(reads(others), "person")
    assert set(told) == set(values(reads(others), "session"))
    assert sum(told.values()) == 4


def test_peers_count_together_and_declared_peers_in_their_own_way():
    """Many contractors with few reads each are one group, by name or as a rule declares; two rules may differ."""
    records = reads([session(f"contractor-{n:03}", "s") for n in range(4)] + [session("Trainer", "s")])
    assert values(records, "peer_group") == {"contractor": 4, "Trainer": 1}
    declared = {"odd": ("*:role/contractor-00[13]", "*:role/contractor-001"), "rest": ("*contractor*",)}
    assert values(records, "peer_group", peer_groups=declared) == {"odd": 1, "rest": 3, "Trainer": 1}
    rules = [
        rule("sessions", 60, 2, id="plain", group_by="peer_group"),
        rule("sessions", 60, 2, id="declared", group_by="peer_group", peer_groups={"all": ("*",)}),
    ]
    assert {(f.rule_id, f.group["peer_group"], int(f.peak_value)) for f in found(rules, records)} == {
        ("plain", "contractor", 4),
        ("declared", "all", 5),
    }


def test_levels_are_equal_where_all_that_a_rule_says_of_them_is():
    """A batch keeps the groups of each: plain words and declared peers are not taken for one another."""
    plain, one = Levels(("peer_group",)), Levels(("peer_group",), (("a", ("*",)),))
    other = Levels(("peer_group",), (("b", ("*",)),))
    assert plain == ("peer_group",)
    assert hash(plain) == hash(("peer_group",))
    assert len({plain, one, other, Levels(one, one.peers)}) == 3
    assert one != "peer_group"


def test_the_order_of_declared_groups_is_part_of_the_rule():
    """The first group that fits counts: with another order the rule counts anew."""
    one, other = {"a": ("*x*",), "b": ("*y*",)}, {"b": ("*y*",), "a": ("*x*",)}
    made = [rule(group_by="peer_group", peer_groups=groups).digest() for groups in (one, other, one)]
    assert made[0] == made[2] != made[1]


def test_networks_as_groups_and_as_a_measure():
    """One /24 is one source whatever its last number; as a measure it tells a leak from a pool of addresses."""
    records = [
        *reads([session("A", "x")] * 3, sourceIPAddress="198.51.100.7"),
        *reads([session("A", "x")] * 3, sourceIPAddress="198.51.100.8"),
        *reads([session("A", "x")] * 3, sourceIPAddress="10.0.0.1", vpcEndpointId="vpce-1"),
    ]
    records = [one | {"eventID": f"n{n}"} for n, one in enumerate(records)]
    assert values(records, "source_net") == {"198.51.100.0/24": 6, "vpce-1": 3}
    (finding,) = found([rule("source_nets", 60, 2, group_by="role")], records)
    assert (finding.peak_value, finding.principal["role"]) == (2, f"arn:aws:iam::{ACCOUNT}:role/A")
    (finding,) = found([rule("source_ips", 60, 2, group_by="role")], records)
    assert finding.peak_value == 3


LINE = (
    "owner ml-voice [{at}] 10.0.0.{n} arn:aws:sts::111122223333:assumed-role/AWSReservedSSO_Analyst_4f6c1d2a/dana"
    ' R{n} REST.GET.OBJECT raw/{n}.wav "GET /raw/{n}.wav HTTP/1.1" 200 - 100 100 1 1 "-" "aws-cli" - id SigV4 c'
    " AuthHeader h TLSv1.3 - -"
)


def test_access_logs_count_what_they_tell_and_the_rule_is_listed():
    """No endpoint and no source identity there: what can be told apart is counted, and it is no silent no-match."""
    builder = BatchBuilder()
    text = "\n".join(LINE.format(at=f"01/May/2026:09:00:0{n} +0000", n=n) for n in range(3))
    server_access.parse(text.encode(), "log", builder)
    rules = [rule("requests", 60, 3, id=level.replace("_", "-"), group_by=level) for level in ("person", "source_net")]
    assert [f.group for f in findings(rules, builder)] == [{"person": "dana"}, {"source_net": "10.0.0.0/24"}]
    lacking = [sorted(asked(one) & ABSENT[Log.server_access]) for one in (*rules, rule("source_nets"))]
    assert lacking == [["source_identity"], ["vpc_endpoint"], ["vpc_endpoint"]]
    assert asked(rule(group_by="peer_group")) & ABSENT[Log.server_access] == set()


def test_findings_about_many_principals_name_none():
    """A person or a network may be many sessions: `principal` is null, and the evidence lists them."""
    records = reads([session("A", "x", sourceIdentity="dana"), session("B", "y", sourceIdentity="dana")])
    for level, group in (("person", "dana"), ("source_net", "198.51.100.0/24")):
        (finding,) = found([rule("requests", 60, 2, group_by=level)], records)
        told = json.loads(json.dumps(finding.to_json()))
        assert (told["principal"], told["group"]) == (None, {level: group})
