"""The shipped pack: every rule says what it is for and what it cannot see, passes its tests, stands in the page."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from detector.core.lint import remarks
from detector.core.rulefile import Located, read_written
from detector.rules import rule_files, shipped
from detector.trial import trial

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "rules" / "README.md").read_text("utf-8")
PACK = read_written(rule_files(shipped())).rules
EXAMPLES = read_written(rule_files(shipped() / "examples")).rules
EVERY = [*PACK, *EXAMPLES]
NOW = 1_777_626_000
GUARDDUTY = frozenset(
    f"{purpose}:S3/{kind}"
    for purpose, kinds in {
        "Discovery": "AnomalousBehavior MaliciousIPCaller MaliciousIPCaller.Custom TorIPCaller",
        "Exfiltration": "AnomalousBehavior MaliciousIPCaller",
        "Impact": "AnomalousBehavior.Delete AnomalousBehavior.Permission AnomalousBehavior.Write MaliciousIPCaller",
        "PenTest": "KaliLinux ParrotLinux PentooLinux",
        "Policy": "AccountBlockPublicAccessDisabled BucketAnonymousAccessGranted BucketBlockPublicAccessDisabled "
        "BucketPublicAccessGranted",
        "Stealth": "ServerAccessLoggingDisabled",
        "UnauthorizedAccess": "MaliciousIPCaller.Custom TorIPCaller",
    }.items()
    for kind in kinds.split()
)
"""GuardDuty's finding types for S3 (GuardDuty User Guide, "GuardDuty S3 finding types"), without those of malware."""


def named(one: Located) -> str:
    return one.rule.id


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_every_rule_says_what_it_is_for_and_what_it_cannot_see(one):
    rule = one.rule
    assert all((rule.description, rule.runbook, rule.blind_spot, rule.references, rule.tests)), rule.id


CASES = [(one, number) for one in EVERY for number in range(len(one.rule.tests))]


@pytest.mark.parametrize(("one", "number"), CASES, ids=lambda value: value if isinstance(value, int) else named(value))
def test_every_rule_passes_its_own_tests(one, number):
    verdict = trial(one.tested, one.rule.tests[number])
    assert verdict.problems == (), f"{one.file}:{one.line('tests', number)}: {verdict.way}"


def test_every_rule_is_found_by_a_test_and_every_one_stays_quiet_in_a_test_or_says_so():
    """A rule whose tests never expect a finding watches a list that comes empty."""
    silent = {one.rule.id for one in EVERY if not any(example.findings for example in one.rule.tests)}
    assert silent == {"bad-address", "tor-address", "bad-address-refused"}


def test_there_is_nothing_to_say_about_the_pack():
    for located in (PACK, EXAMPLES):
        assert [(rule.id, remark.message) for rule, remark in remarks([one.rule for one in located], NOW)] == []


def test_nothing_shipped_revokes_and_what_needs_your_names_pages_nobody():
    assert not [one.rule.id for one in EVERY if "revoke" in one.rule.respond]
    assert {one.rule.stage for one in [*EXAMPLES, *(one for one in PACK if one.waits)]} == {"staged"}


def test_every_name_that_the_pack_asks_for_is_in_its_site_file_and_without_a_value():
    """Filled in, every rule is evaluated, with what stands there."""
    files = rule_files(shipped())
    [site] = [name for name in files if name.endswith("site.yaml")]
    named = set(re.findall(r"^  (\w+): \[\]", files[site], re.MULTILINE))
    assert named == {name for one in PACK for name in one.waits}
    values = {"retention": "30d", "longest_silence": "2d", "sample_keys": "k/{sample_id}", "dated_keys": "{yyyy}/**"}
    filled = re.sub(
        r"^  (\w+): \[\]",
        lambda found: f"  {found[1]}: {values.get(found[1], 'x-*')!r}",
        files[site],
        flags=re.MULTILINE,
    )
    rules = {one.rule.id: one for one in read_written(files | {site: filled}).rules}
    assert not any(one.waits for one in rules.values())
    assert rules["stray-copy-used"].rule.source == ("x-*",)
    assert (rules["protected-bucket-silent"].rule.every, rules["protected-bucket-silent"].tested.every) == (
        2 * 86_400,
        26 * 3600,
    )
    assert all(trial(one.tested, test).passed for one in rules.values() if one.stand_in for test in one.rule.tests)


def _rows(section: str) -> dict[str, set[str]]:
    """First cell → the ids in the second, of a table below a line."""
    rows = re.findall(r"^\| `?([^|`]+?)`? \| ([^|]*) \|$", section, re.MULTILINE)
    return {first: set(re.findall(r"`([a-z0-9-]+)`", second)) for first, second in rows}


COVER = PAGE.split("## What the shipped rules cover")[1].split("\n## ")[0]
BY_TYPE, BY_CONTROL = (_rows(part) for part in COVER.split("What a bucket of biometric")[:2])


def test_every_finding_type_of_guardduty_has_its_rules():
    """The page names the rules, and each of these names the type among its references; and the other way round."""
    assert {name for name in BY_TYPE if ":S3/" in name} == GUARDDUTY
    rules = {one.rule.id: one.rule for one in EVERY}
    for kind in GUARDDUTY:
        assert BY_TYPE[kind] == {name for name, rule in rules.items() if f"GuardDuty {kind}" in rule.references}, kind


def test_every_rule_watches_a_control_or_a_finding_type_and_the_page_names_no_other():
    told = {name for table in (BY_TYPE, BY_CONTROL) for names in table.values() for name in names}
    assert told == {one.rule.id for one in EVERY}
