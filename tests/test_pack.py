"""The shipped pack: every rule says what it is for and what it cannot see, and passes its own tests."""

from __future__ import annotations

import pytest

from detector.core.lint import remarks
from detector.core.rulefile import Located, read_written
from detector.rules import rule_files, shipped
from detector.trial import trial

PACK = read_written(rule_files(shipped())).rules
EXAMPLES = read_written(rule_files(shipped() / "examples")).rules
EVERY = [*PACK, *EXAMPLES]
NOW = 1_777_626_000


def named(one: Located) -> str:
    return one.rule.id


@pytest.mark.parametrize("one", EVERY, ids=named)
def test_every_rule_says_what_it_is_for_and_what_it_cannot_see(one):
    rule = one.rule
    assert all((rule.description, rule.runbook, rule.blind_spot, rule.references, rule.tests)), rule.id


CASES = [(one, number) for one in EVERY for number in range(len(one.rule.tests))]


@pytest.mark.parametrize(("one", "number"), CASES, ids=lambda value: value if isinstance(value, int) else named(value))
def test_every_rule_passes_its_own_tests(one, number):
    verdict = trial(one.rule, one.rule.tests[number])
    assert verdict.problems == (), f"{one.file}:{one.line('tests', number)}: {verdict.way}"


def test_every_rule_is_found_by_a_test_and_every_one_stays_quiet_in_a_test_or_says_so():
    """A rule whose tests never expect a finding watches a list that comes empty."""
    silent = {one.rule.id for one in EVERY if not any(example.findings for example in one.rule.tests)}
    assert silent == set()


def test_there_is_nothing_to_say_about_the_pack():
    for located in (PACK, EXAMPLES):
        assert [(rule.id, remark.message) for rule, remark in remarks([one.rule for one in located], NOW)] == []


def test_nothing_shipped_revokes_and_what_needs_your_names_pages_nobody():
    assert not [one.rule.id for one in EVERY if "revoke" in one.rule.respond]
    assert {one.rule.stage for one in EXAMPLES} == {"staged"}
