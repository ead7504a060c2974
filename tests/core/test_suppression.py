"""Announced jobs: what was announced is quiet while it lasts, and nothing else is."""

from dataclasses import replace

import pytest

from detector.core.finding import Finding
from detector.core.suppression import Suppression

UNTIL = "2026-05-03T00:00:00Z"
NOW = 1_777_626_000  # 2026-05-01T09:00:00Z
JOB = {
    "group": "*:role/Trainer",
    "bucket": "ml-voice",
    "prefix": "raw/*",
    "until": UNTIL,
    "owner": "ml",
    "reason": "new corpus",
}


def found(prefixes=("raw/de/", "raw/fr/"), buckets=("ml-voice",), who="arn:aws:iam::1:role/Trainer", kind="threshold"):
    return Finding(
        "f", "many", "t", kind, "high", "opened", NOW, NOW, 60, "objects", 3, 9, NOW, {"role": who}, 1, None, "why",
        evidence={"prefixes": list(prefixes), "buckets": list(buckets)}, alert_ids=("a-1",),
    )  # fmt: skip


def job(**changes):
    return Suppression.model_validate(
        {name: value for name, value in (JOB | changes).items() if value is not None}, strict=False
    )


@pytest.mark.parametrize(
    ("finding", "quiet"),
    [
        (found(), True),
        (found(prefixes=("raw/de/", "labels/")), False),
        (found(buckets=("ml-voice", "payroll")), False),
        (found(who="arn:aws:iam::1:role/Analyst"), False),
        (found(prefixes=()), False),
        (found(prefixes=[f"raw/{n}/" for n in range(20)]), False),
        (found(prefixes=[f"raw/{n}/" for n in range(19)]), True),
    ],
)
def test_a_job_is_quiet_only_while_all_that_is_shown_lies_where_it_was_announced(finding, quiet):
    """One folder outside, another bucket, another role, nothing shown, or more than can be shown: it pages."""
    assert job(group=("*:role/Trainer",), bucket=("ml-voice",), prefix=("raw/*",)).holds(finding, NOW) is quiet


def test_what_a_thief_may_write_as_he_likes_is_no_name_of_his():
    """A finding about a user agent or a folder new to a role names that text too, and it may look like any role."""
    thief = replace(found(), group={"role": "arn:aws:iam::1:role/Thief", "user_agent": "x:role/Trainer"})
    assert not job(group=("*:role/Trainer",), bucket=None, prefix=None).holds(thief, NOW)
    assert job(group=("*:role/Thief",), bucket=None, prefix=None).holds(thief, NOW)


def test_a_job_ends():
    assert job(group=("*",), bucket=None, prefix=None).holds(found(), NOW + 39 * 3600 - 1)
    assert not job(group=("*",), bucket=None, prefix=None).holds(found(), NOW + 39 * 3600)


def test_a_decoy_is_no_part_of_a_job_unless_its_rule_is_named():
    """Whoever announces a job does not announce that it takes what nobody has reason to take."""
    assert not job(group=("*",), bucket=None, prefix=None).holds(found(kind="decoy"), NOW)
    assert job(rule=("many",), group=None, bucket=None, prefix=None).holds(found(kind="decoy"), NOW)


def test_a_place_alone_is_no_job():
    with pytest.raises(ValueError, match="only narrow it"):
        job(group=None)


def test_the_journal_says_what_was_announced():
    told = job(group=("*:role/Trainer",), bucket=("ml-voice",), prefix=("raw/*",)).told()
    assert (told["prefix"], told["owner"], told["reason"]) == (["raw/*"], "ml", "new corpus")
