"""The generated organisation: the same by seed, its look-alikes are there, and labels of thefts are true."""

from __future__ import annotations

from collections import Counter, defaultdict
from types import SimpleNamespace

import msgspec
import numpy as np
import pytest

from detector.core.access import COLUMNS, Operation, Outcome
from detector.core.builder import BatchBuilder
from detector.core.operation import classify
from detector.core.peers import peer_group
from detector.errors import InputError
from detector.logs.identity import named
from detector.logs.read import read
from replay.drill.calls import Delivery
from replay.drill.organisation import Organisation, Shape
from replay.drill.people import DAY
from replay.drill.thefts import KINDS, Theft, plant
from replay.drill.traffic import Batches
from replay.drill.trial import Caught, Page, arrivals, planted, scene

SMALL = Shape(roles=40, days=9)


@pytest.fixture(scope="module")
def organisation():
    return Organisation(3, SMALL)


@pytest.fixture(scope="module")
def days(organisation):
    """Every batch of three days."""
    return list(Batches(3, organisation.home).arrivals(organisation.day(n) for n in range(3)))


def asked_by(organisation, group, number):
    whos = {m.who.number for m in organisation.members if m.group == group}
    return [one for one in organisation.day(number) if one.who.number in whos]


class TestDeterminism:
    def test_the_same_seed_gives_the_same_batches(self):
        """Row by row, also when days were made before in another order."""
        shape = Shape(roles=12, days=2)
        one, other = Organisation(5, shape), Organisation(5, shape)
        other.day(1)
        for a, b in zip(arrivals(one), arrivals(other), strict=True):
            assert a.at == b.at
            assert np.array_equal(a.batch.time, b.batch.time)
            assert np.array_equal(a.batch.id, b.batch.id)
            assert a.batch.text["key"].texts() == b.batch.text["key"].texts()
            assert a.batch.principals[0] == b.batch.principals[0]

    def test_another_seed_gives_another_organisation(self):
        assert [len(one.times) for one in Organisation(5, SMALL).day(0)] != [
            len(one.times) for one in Organisation(6, SMALL).day(0)
        ]

    def test_a_theft_changes_nobody_elses_day(self, organisation):
        """What members ask for does not depend on what a thief does."""
        before = [(one.who.number, one.times.tolist()) for one in organisation.day(4)]
        planted(organisation, 1, tuple(KINDS), 4)
        assert [(one.who.number, one.times.tolist()) for one in organisation.day(4)] == before


WORKLOADS = {
    "trainer": "web identity", "nightly-etl": "web identity", "web-service": "web identity",
    "ci-deploy": "web identity", "thumbnail-fn": "AWS::Lambda::Function", "spot-trainer": "ec2", "batch-job": "ec2",
}  # fmt: skip


def test_credentials_of_workloads_say_what_they_were_made_for_in_columns_and_in_files():
    """Functions, pods, runners and instances; people, and services that call for them, say nothing."""
    organisation = Organisation(3, Shape(roles=60, days=1))
    asked = organisation.day(0)
    groups = {one.number: m.group for m in organisation.members for one in (m.who, *m.others)}
    wanted: dict[str, set[str | None]] = defaultdict(set)
    for one in asked:
        for calls in one.calls(organisation.home):
            principal, _ = named(msgspec.json.encode(calls.actor.identity))
            wanted[groups[one.who.number]].add(principal.issued_to)
    assert {group: kinds for group, kinds in wanted.items() if kinds != {None}} == {
        group: {made_for} for group, made_for in WORKLOADS.items()
    }
    of_columns = {
        (p.session, p.issued_to) for a in arrivals(organisation) for p in a.batch.principals if p.type == "AssumedRole"
    }
    builder, delivery, rng = BatchBuilder(frozenset({"issued_to"})), Delivery(3), np.random.default_rng(3)
    for one in asked:
        for calls in one.calls(organisation.home):
            delivery.take(calls, rng)
    for file in delivery.until(1 << 40):
        read(file.data, file.name, builder)
    of_files = {(p.session, p.issued_to) for p in builder.build().principals if p.type == "AssumedRole"}
    assert of_files == of_columns
    assert {made_for for _, made_for in of_files} == {None, *WORKLOADS.values()}


class TestDelivery:
    def test_batches_come_in_order_one_to_seven_minutes_after(self, days):
        ats = [arrival.at for arrival in days]
        assert ats == sorted(ats)
        delays = np.concatenate([arrival.at - arrival.batch.time for arrival in days])
        assert delays.min() >= 60
        assert np.quantile(delays, 0.99) <= 420

    def test_some_records_come_twice(self, days):
        ids = np.concatenate([arrival.batch.id for arrival in days])
        assert 0.003 < 1 - len(np.unique(ids)) / len(ids) < 0.007

    def test_batches_and_log_files_say_the_same(self, organisation):
        """The files that the real writer makes, read by the real parser, against the columns: all that rules see."""
        asked = [one for one in organisation.day(2) if len(one.times)][:400]
        thefts = planted(organisation, 2, ("copy_out", "restore", "presigned_leak"), 2)
        asked += [one for theft in thefts for one in theft.asked]
        asked = [one.within(0, 1 << 40) for one in asked if len(one.times) < 4_000]
        delivery, rng = Delivery(1), np.random.default_rng(1)
        for one in asked:
            for calls in one.calls(organisation.home):
                delivery.take(calls, rng)
        builder = BatchBuilder(COLUMNS)
        for file in delivery.rest():
            assert read(file.data, file.name, builder).kind == "cloudtrail"
        read_, made = builder.build(), [a.batch for a in Batches(1, organisation.home).arrivals([asked])]
        assert not read_.rejects
        assert rows(read_) == set().union(*map(rows, made))


def rows(batch):
    """What rules look at, of every row."""
    names = ("api", "bucket", "key", "destination", "source_ip", "user_agent", "vpc_endpoint", "auth", "region")
    texts = [batch.text[name].texts() for name in names]
    who = [batch.principals[code] for code in batch.who.tolist()]
    columns = (batch.time, batch.operation, batch.outcome, batch.bytes)
    figures = zip(*(column.tolist() for column in columns), strict=True)
    return set(zip(who, batch.partition.texts(), figures, *texts, strict=True))


class TestLookAlikes:
    def test_the_nightly_etl_stays_just_under_ten_thousand(self, organisation):
        """9,969 distinct objects in five minutes."""
        reads = [one for one in asked_by(organisation, "nightly-etl", 1) if one.api == "GetObject"]
        panes = np.concatenate([one.times for one in reads]) // 300
        assert 9_900 <= max(Counter(panes.tolist()).values()) < 10_000

    def test_a_trainer_reads_the_same_objects_again(self, organisation):
        """Epochs: several times as many requests as objects."""
        days = [asked_by(organisation, "trainer", number) for number in range(8)]
        worst = [max(day, key=lambda one: len(one.times)) for day in days if day]
        assert all(len(one.times) >= 1.8 * len(np.unique(one.numbers)) for one in worst)

    def test_nobody_but_a_thief_reads_ten_thousand_in_five_minutes(self, days):
        """In one session; else the fixed rule would be blamed for the organisation."""
        found = defaultdict(set)
        for arrival in days[:600]:
            batch = arrival.batch
            read_ = np.flatnonzero((batch.operation == Operation.read) & (batch.outcome == Outcome.success))
            for row, key in zip(read_.tolist(), batch.text["key"].take(read_).texts(), strict=True):
                found[batch.who[row], int(batch.time[row]) // 300, arrival.at].add(key)
        assert max(map(len, found.values())) < 10_000

    def test_all_kinds_of_identity_and_way_occur(self, days):
        people = {who for arrival in days for who in arrival.batch.principals}
        assert {"AssumedRole", "AWSService", "AWSAccount"} <= {who.type for who in people}
        through = {who.invoked_by for who in people}
        assert {"athena.amazonaws.com", "backup.amazonaws.com", "macie.amazonaws.com", "s3.amazonaws.com"} <= through
        apis = {text for arrival in days for text in arrival.batch.text["api"].values}
        assert {"GetObject", "HeadObject", "ListObjects", "PutObject"} <= apis
        outcomes = np.unique(np.concatenate([arrival.batch.outcome for arrival in days]))
        assert outcomes.tolist() == [Outcome.success, Outcome.denied, Outcome.error]

    def test_a_large_organisation_has_the_rest(self):
        """Newcomers, roles renamed by a redeploy, users, spot nodes, signed URLs, a team an account."""
        large = Organisation(1, Shape(accounts="team"))
        identities = [m.identity for m in large.members if m.identity]
        assert any(m.since for m in large.members)
        assert any(identity.renamed for identity in identities)
        assert {"home", "office", "vpn", "vpc", "nat", "cloud", "spot"} <= {i.network.kind for i in identities}
        assert len({identity.role.account for identity in identities}) == 7
        users = [m.who.of(0).identity for m in large.members if m.group == "sync-user"]
        assert {one["type"] for one in users} == {"IAMUser"}
        signed = [m.others[0].of(1 << 17) for m in large.members if m.group == "web-service" and m.others]
        assert {one.auth for one in signed} == {"QueryString"}

    def test_the_office_moves(self, organisation):
        late = next(m for m in Organisation(3, Shape(roles=40)).members if m.group == "analyst")
        before, after = (late.who.of(organisation.start + day * DAY << 16).address for day in (2, 12))
        assert before.rpartition(".")[0] != after.rpartition(".")[0]

    def test_private_addresses_collide_across_vpcs(self):
        """The same address behind different endpoints."""
        seen = defaultdict(set)
        for member in Organisation(1).members:
            if member.identity and member.identity.network.kind in ("vpc", "spot"):
                for variant in range(40):
                    actor = member.who.of(1 << 40 | variant)
                    seen[actor.address].add(actor.vpc_endpoint)
        assert max(map(len, seen.values())) > 1


class TestNames:
    def test_named_roles_share_a_stem_and_random_ones_do_not(self):
        """Peer groups of many, and hardly one of two."""
        for names, most in (("named", 20), ("random", 340)):
            members = [m for m in Organisation(1, Shape(names=names)).members if m.identity]
            batch = [principal_of(m.who) for m in members]
            groups = {peer_group(who) for who in batch}
            assert (len(groups) <= most) if names == "named" else (len(groups) > 250)

    def test_sizes(self):
        """About as many as asked for, beside AWS's services and the agencies' people."""
        for roles in (12, 40, 375):
            members = [m for m in Organisation(1, Shape(roles=roles)).members if m.group not in ("service", "agency")]
            assert abs(len(members) + 2 - roles) <= max(3, roles // 20)

    def test_too_small_is_refused(self):
        with pytest.raises(InputError, match="too small"):
            Organisation(1, Shape(roles=3))


def principal_of(who):
    return named(msgspec.json.encode(who.of(Organisation(1).start << 16).identity))[0]


class TestThefts:
    @pytest.fixture(scope="class")
    @staticmethod
    def thefts(organisation):
        return {theft.kind: theft for theft in planted(organisation, 3, tuple(KINDS), 5)}

    def test_labels_are_true(self, thefts):
        """As many distinct objects left as the label says, in the time it says."""
        for theft in thefts.values():
            taken = {
                (one.place, number)
                for one in theft.asked
                if one.error is None and classify(one.api) in (Operation.read, Operation.copy)
                for number in one.numbers.tolist()
            }
            assert len(taken) == theft.objects > 0
            assert theft.started_at <= theft.moments[0] <= theft.moments[-1] <= theft.ended_at
            assert theft.lost(theft.started_at - 1) == 0
            assert theft.lost(theft.ended_at) == theft.objects

    def test_what_is_lost_before_the_page_goes_by_the_rule_that_is_first_there(self, thefts):
        """Of two rules that page with one file the one that saw the theft earlier is first where nothing is late."""
        theft = thefts["smash_and_grab"]
        start = theft.started_at
        one = Caught(theft)
        assert (one.page, one.lost(), one.lost(0)) == (None, theft.objects, theft.objects)
        for rule, opened in (("late", 200), ("soon", 10)):
            one.first[rule] = Page(start + 300, SimpleNamespace(opened_at=start + opened), theft)
        assert one.page is one.first["late"]
        assert (one.lost(), one.lost(0), one.lost(60)) == tuple(theft.lost(start + at) for at in (300, 10, 70))

    @pytest.mark.parametrize(
        ("kind", "least", "most", "per_pane"),
        [
            ("smash_and_grab", 20_000, 20_000, (8_000, 21_500)),
            ("under_the_rule", 6_000, 20_000, (5_500, 9_990)),
            ("drip", 3_000, 52_000, (12, 100)),
            ("office_drip", 900, 7_500, (5, 60)),
            ("session_rotation", 9_000, 30_000, (700, 2_700)),
            ("fan_out", 1_500, 8_000, (700, 4_000)),
            ("copy_out", 3_000, 8_000, (2_000, 6_500)),
            ("presigned_leak", 2_000, 8_000, (60, 600)),
            ("insider", 50, 1_500, (1, 120)),
            ("hidden_in_training", 3_000, 9_000, (700, 2_700)),
            ("enumeration", 100, 800, (10, 120)),
            ("new_identity", 3_000, 9_000, (1_000, 4_000)),
            ("restore", 1_000, 4_000, (400, 2_000)),
        ],
    )
    def test_each_kind_takes_what_it_says(self, thefts, kind, least, most, per_pane):
        """Objects in all, and in the busiest five minutes."""
        theft = thefts[kind]
        assert least <= theft.objects <= most
        busiest = max(Counter((theft.moments // 300).tolist()).values())
        assert per_pane[0] <= busiest <= per_pane[1]

    def test_every_kind_is_tested(self, thefts):
        assert set(thefts) == set(KINDS)

    def test_nobody_is_robbed_twice(self, organisation):
        where = scene(organisation, 3, 5)
        picked = [where.victim("contractor").who.number for _ in range(8)]
        assert len(set(picked)) == len(picked)

    def test_an_unknown_kind_is_refused(self, organisation):
        with pytest.raises(InputError, match="no kind of theft is called 'x'"):
            plant("x", scene(organisation, 1, 5), organisation.start)

    def test_rotation_changes_the_session_and_not_the_role(self, thefts):
        turns = {turn: one.who for one in thefts["session_rotation"].asked for turn in one.turns.tolist()}
        identities = [who.of(turn).identity for turn, who in turns.items()]
        assert len({one["arn"] for one in identities}) == len(turns) > 3
        assert len({one["sessionContext"]["sessionIssuer"]["arn"] for one in identities}) == 1

    def test_only_what_is_about_the_theft_is_explained_by_it(self, thefts):
        theft: Theft = thefts["smash_and_grab"]
        who = theft.asked[0].who.of(int(theft.asked[0].turns[0])).identity["arn"]

        class Found:
            opened_at, window_seconds, group = theft.started_at + 60, 300, {"session": who}

        assert theft.explains(Found)
        assert not theft.explains(type("F", (Found,), {"group": {"session": "arn:somebody-else"}}))
        assert not theft.explains(type("F", (Found,), {"opened_at": theft.started_at - 60}))
        assert not theft.explains(type("F", (Found,), {"opened_at": theft.ended_at + 2 * DAY}))
