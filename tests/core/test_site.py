"""Names of a site: what stands for them, what waits for them, and every mistake in its place."""

from __future__ import annotations

import pytest

from detector.core.rulefile import read_rules, read_written
from detector.errors import RuleFileError
from detector.rules import read_book
from detector.trial import trial

RULES = """\
names:
  protected_buckets: ["ml-voice*"]
  pipeline: "*:role/pipe/*"
  keep: 30d
rules:
  - id: a
    title: costs $pipeline
    severity: high
    kind: match
    window: $keep
    where: {operation: read, bucket: [extra, $protected_buckets], unless: {role: $pipeline}}
    tests:
      - {name: one, events: [{by: x/y}], findings: [{opened: 0s}]}
  - {id: b, title: t, severity: high, kind: match, where: {operation: control}}
"""
SITE = "site: {protected_buckets: [ours-1, ours-2], pipeline: '*:role/ours', keep: 2h}\n"


def wrong(*texts: str) -> list[str]:
    with pytest.raises(RuleFileError) as caught:
        read_rules({f"{number}.yaml": text for number, text in enumerate(texts)})
    return [str(problem) for problem in caught.value.problems]


def test_a_rule_has_what_the_site_says_wherever_a_text_may_stand():
    """In a list among other texts, alone, and as a duration; prose is left as it is."""
    a, _ = read_rules({"r.yaml": RULES, "s.yaml": SITE})
    assert a.where.bucket == ("extra", "ours-1", "ours-2")
    assert a.where.unless.role == ("*:role/ours",)
    assert (a.window, a.title) == (7200, "costs $pipeline")


@pytest.mark.parametrize(
    "site", ["site: {}\n", "site: {protected_buckets: [], pipeline: x, keep: 1d}\n", SITE.replace("keep", "other")]
)
def test_a_rule_whose_names_nobody_has_said_is_not_evaluated_and_listed(site):
    book = read_book({"r.yaml": RULES, "s.yaml": site})
    assert [rule.id for rule in book.rules] == ["b"]
    assert list(book.waiting) == ["a"]
    assert set(book.waiting["a"]) <= {"protected_buckets", "pipeline", "keep"}


@pytest.mark.parametrize("site", ["site: {}\n", SITE])
def test_its_tests_use_the_names_of_its_own_file(site):
    a = read_written({"r.yaml": RULES, "s.yaml": site}).rules[0]
    assert a.tested.where.bucket == ("extra", "ml-voice*")
    assert trial(a.tested, a.rule.tests[0]).passed


def test_another_site_is_another_rule():
    """What was counted for other buckets does not count here."""
    one, other = (read_rules({"r.yaml": RULES, "s.yaml": text})[0] for text in (SITE, SITE.replace("ours-2", "ours-3")))
    assert one.digest() != other.digest()


@pytest.mark.parametrize(
    ("texts", "told"),
    [
        (
            [RULES.replace("[extra, $protected_buckets]", "$protected_bucket")],
            "0.yaml:11:38: where.bucket: no such name: '$protected_bucket'; did you mean '$protected_buckets'?",
        ),
        ([RULES, SITE, SITE], "2.yaml:1:27: site: 'protected_buckets' is said already at 1.yaml:1"),
        (
            [RULES, "site: [a]\n"],
            "1.yaml:1:7: site: expected names under it, such as `protected_buckets: [ml-voice-*]`, got a list",
        ),
        ([RULES, "site: {Keep: 1d}\n"], "1.yaml:1:8: site: expected a name of a-z, 0-9 and _, got 'Keep'"),
        ([RULES, "site: {keep: 30}\n"], "1.yaml:1:14: site.keep: expected a text or a list of texts, got 30"),
        ([RULES, SITE.replace("2h", "soon")], "0.yaml:10:13: window: expected a duration such as 5m, got 'soon'"),
    ],
)  # fmt: skip
def test_every_mistake_is_told_in_its_place(texts, told):
    assert told in wrong(*texts)
