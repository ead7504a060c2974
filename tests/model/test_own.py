"""A River detector in the model's place: end to end in replay, refused by the daemon, and nothing else can be named."""

import inspect
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from detector.core.river import CHOOSERS, DETECTORS, FEATURES, SCALERS, build, step
from detector.core.rulefile import read_rules
from detector.errors import InputError, RuleFileError
from detector.model.channels import CHANNELS
from detector.model.own import Own
from detector.rules import RuleFiles, load_rules
from tests.kinds import DAY, T0, Fact, replayed, shown

RULE = """\
rules:
  - id: own
    title: t
    severity: high
    kind: baseline
    where: {{operation: read}}
    threshold: 2
    learn_role_days: 12
    cooldown: 1h
    detector: {}
"""
CONFIG = """
source: {{kind: directory, path: {folder}/logs}}
rules: {folder}/r.yaml
state: {{kind: sqlite, path: {folder}/state.db}}
alerts: [{{kind: file, path: {folder}/alerts.jsonl}}]
journal: {{path: {folder}/journal.jsonl}}
"""
PIPELINE = "[MinMaxScaler, {HalfSpaceTrees: {n_trees: 10, height: 6, window_size: 50}}]"
LODA = "{LODA: {n_random_cuts: 30}}"
SVM = "[{Select: [reads_5m, new_1h]}, StandardScaler, {OneClassSVM: {nu: 0.2}}]"
ROLES = ("Reader-1", "Reader-2", "Reader-3")
DAYS = 9
THEFT = T0 + (DAYS - 1) * DAY + 181 * 300


def organisation():
    """Three roles of one group that read a little in work hours; on the last day one takes very much in ten minutes."""
    draw = np.random.default_rng(3)
    facts = []
    for day in range(DAYS):
        for role in ROLES:
            for pane in range(108, 180, 2):
                facts += [
                    Fact(T0 + day * DAY + pane * 300 + 13 * n, role, role, key=f"{role}/{day}/{pane}/{n}")
                    for n in range(int(draw.integers(2, 7)))
                ]
    return facts + [Fact(THEFT + n // 3, ROLES[0], ROLES[0], key=f"all/{n % 40}/{n}") for n in range(1500)]


def own(detector):
    (rule,) = read_rules({"r.yaml": RULE.format(detector)})
    return rule


@pytest.mark.parametrize(("detector", "catches"), [(PIPELINE, False), (LODA, True), (SVM, True)])
def test_any_detector_of_river_is_judged_as_the_model_is(detector, catches):
    """With tails, line and cooldown around it; the same whatever the order of the records.

    HalfSpaceTrees hardly sees a theft: what is far out falls into the same leaves as what is a little out.
    """
    facts = organisation()
    engine, found = replayed(own(detector), [facts])
    assert engine.failures == {}
    assert 1 <= len(found) <= 8
    for finding in found:
        (reason,) = finding.details["baseline"]["reasons"]
        assert reason["channel"] == "score_5m"
        assert "by the rule's own detector" in finding.explanation
    theft = [one for one in found if one.last_at >= THEFT and ROLES[0] in one.group["role"]]
    assert theft or not catches
    order = np.random.default_rng(5).permutation(len(facts))
    again = replayed(own(detector), [[facts[at] for at in order[:900]], [facts[at] for at in order[900:]]])[1]
    assert shown(again) == shown(found)


def test_each_peer_group_has_a_detector_of_its_own():
    """What one group shows its detector, another's does not know."""
    judge, x = Own(own(LODA).detector), np.abs(np.random.default_rng(1).normal(2, 0.3, (300, len(FEATURES))))
    for row in x:
        judge.scales(["a"], row[None], today=True)
        judge.learn(["a"], row[None])
    judge.midnight(frozen=False)
    far = np.full((1, len(FEATURES)), 30.0)
    assert judge.scales(["a"], far)[0, 0] > 1
    assert judge.scales(["b"], far)[0, 0] == 0.0


def test_the_daemon_refuses_what_it_cannot_keep(tmp_path):
    """At its start, by `watch` itself, with what to do; replay takes the same file."""
    (tmp_path / "r.yaml").write_text(RULE.format(LODA))
    assert load_rules(tmp_path / "r.yaml")
    with pytest.raises(InputError, match="cannot be kept in a checkpoint"):
        RuleFiles(tmp_path / "r.yaml").read()
    (tmp_path / "logs").mkdir()
    (tmp_path / "c.yaml").write_text(CONFIG.format(folder=tmp_path))
    program = Path(sys.executable).with_name("bucketwatch")
    done = subprocess.run(
        [program, "watch", "--config", tmp_path / "c.yaml"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2, done.stderr
    assert "rule own" in done.stderr


@pytest.mark.parametrize(
    ("detector", "told"),
    [
        ("os.system", "expected one of HalfSpaceTrees"),
        ("{__import__: {name: os}}", "expected one of HalfSpaceTrees"),
        ("{river.anomaly.LODA: {}}", "expected one of HalfSpaceTrees"),
        ("{FuncTransformer: {func: print}}", "expected one of HalfSpaceTrees"),
        ("{QuantileFilter: {q: 0.9}}", "expected one of HalfSpaceTrees"),
        ("[]", "expected steps that end in"),
        ("MinMaxScaler", "expected steps that end in"),
        ("[LODA, HalfSpaceTrees]", "expected steps that end in"),
        ("{HalfSpaceTrees: {tree: 9}}", "does not take 'tree'; it takes n_trees, height, window_size, seed"),
        ("{HalfSpaceTrees: {height: 60}}", "HalfSpaceTrees.height expected a whole number from 1 to 14, got '60'"),
        ("{HalfSpaceTrees: {n_trees: true}}", "HalfSpaceTrees.n_trees expected a whole number"),
        ("{HalfSpaceTrees: {limits: {a: 1}}}", "does not take 'limits'"),
        ("{HalfSpaceTrees: 25}", "HalfSpaceTrees expected a mapping of n_trees"),
        ("[{StandardScaler: {with_std: 1}}, LODA]", "StandardScaler.with_std expected true or false, got '1'"),
        ("[{Select: [reads_5m, __class__]}, LODA]", "Select expected a list of reads_5m"),
        ("[{Select: }, LODA]", "Select expected a list of reads_5m"),
    ],
)
def test_nothing_else_can_be_named(detector, told):
    """Each with its place, and what is known there."""
    with pytest.raises(RuleFileError) as caught:
        own(detector)
    assert told in str(caught.value)
    assert "r.yaml:10:" in str(caught.value)


def test_what_is_known_is_what_river_takes():
    """Parameters are those of River's classes; features are the model's channels; all can be built."""
    assert list(FEATURES) == [channel.name for channel in CHANNELS]
    for name, takes in (DETECTORS | SCALERS).items():
        last = () if name in DETECTORS else (step("LODA"),)
        made = build((step(name), *last))
        first = made if name in DETECTORS else next(iter(made.steps.values()))
        assert type(first).__name__ == name
        assert takes.keys() <= inspect.signature(type(first)).parameters.keys()
        made.learn_one(dict.fromkeys(FEATURES, 0.5))
        made.score_one(dict.fromkeys(FEATURES, 0.5))
    for name in CHOOSERS:
        build((step({name: ["reads_5m", "new_5m"]}), step("LODA"))).learn_one(dict.fromkeys(FEATURES, 0.5))


def test_a_rule_without_one_has_the_digest_it_had():
    """What was learned before there were such detectors stands; with one it begins anew, frozen or not it stands."""
    plain = own("LODA").model_copy(update={"detector": None})
    assert plain.digest() == plain.model_copy(update={"frozen": True}).digest()
    assert plain.digest() != own("LODA").digest() != own("HalfSpaceTrees").digest()
