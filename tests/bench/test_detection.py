"""The bench of detection: its statistics against known values, its thresholds, and one small trial end to end."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench.detection.__main__ import hard_cases, headline, peer_table
from bench.detection.figures import share, wilson
from bench.detection.kept import Kept
from bench.detection.peers import DAY, Table, alerts, peers, threshold, z_score
from bench.detection.trials import Of, Result, Trial, run
from replay.drill.organisation import Shape


@pytest.mark.parametrize(
    ("caught", "of", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (54, 75, 0.6097, 0.8094),
        (15, 148, 0.0624, 0.1605),
        (1, 1, 0.2065, 1.0),
    ],
)
def test_wilson_against_published_values(caught, of, low, high):
    """15 of 148: Newcombe (1998), table I; the others by the same formula with pencil and paper."""
    assert wilson(caught, of) == pytest.approx((low, high), abs=1e-3)


def test_a_share_is_said_with_its_interval():
    assert share(54, 75) == "54 of 75 (72 %, 61 to 81)"
    assert share(0, 0) == "none"


def table(days, maxima):
    """One pane a role and day with this score, after a week of nothing."""
    pane = np.array([(7 + day) * DAY for day in range(days) for _ in range(len(maxima))])
    role = np.tile(np.arange(len(maxima)), days)
    return Table(pane, role, np.zeros((len(pane), 6)), np.full(len(pane), -1), [], 0), np.tile(maxima, days).astype(
        float
    )


def test_a_threshold_costs_what_was_asked_for_where_it_was_set():
    """100 roles, 10 days: at 3 a day per 1,000 three alerts in all."""
    rng = np.random.default_rng(1)
    one, _ = table(10, np.zeros(100))
    scores = rng.random(1000)
    _, false = alerts(one, scores, threshold([(one, scores)], 3))
    assert false == 3


def test_a_z_score_rises_where_a_role_reads_far_more_than_it_does():
    one, _ = table(20, np.zeros(1))
    one.figures[:, 1] = 10
    one.figures[-1, 1] = 5_000
    scores = z_score("objects")(one)
    assert scores[-1] > 10
    assert scores[:-1].max() < 1


def test_a_trial_counts_every_page_and_every_theft():
    """The fixed rule catches smash and grab, and nothing else of these."""
    result = run(Trial("t", 1, Shape(12, 4), ("smash_and_grab", "office_drip"), (1.0, 10.0), 2))
    smash, slow = result.thefts["fixed"]
    assert (smash.kind, smash.by is not None, slow.by) == ("smash_and_grab", True, None)
    assert 10_000 <= smash.lost["at once"] <= smash.lost["EventBridge"] <= smash.lost["S3 files"] <= smash.objects
    assert slow.lost["S3 files"] == slow.objects
    assert result.false["fixed"] == 0
    assert result.pages["fixed"] >= 1
    assert {"fixed", "rules", "model 1", "all 1"} <= set(result.thefts)
    assert result.principal_days > 2 * 12


def test_a_bench_that_was_stopped_goes_on_with_what_it_had(tmp_path):
    """A trial that is kept says what it said when it was run, its peers' scores too; another trial is not it."""
    trial = Trial("named", 1, Shape(12, 2), ("smash_and_grab",), (1.0, 3.0), peers=True)
    of = [Of("smash_and_grab", 9, "rule", 60, {"S3 files": 3}), Of("office_drip", 9, None, None, {"S3 files": 9})]
    panes = Table(np.arange(3) * 300, np.array([0, 1, 0]), None, np.array([-1, 0, -1]), ["smash_and_grab"], 7)
    scored = {"z": (panes, np.array([0.5, 2.0, np.nan])), "river": (panes, np.array([1.0, 2.0, 3.0]))}
    counts = {"model 1": 2}
    result = Result(trial, 100, 1.5, 24, {"model 1": of}, counts, counts, counts, {"rule": 1}, scored)
    Kept(tmp_path).save(result)
    (tmp_path / "older").mkdir()
    kept = Kept(tmp_path)
    assert not (tmp_path / "older").exists()
    assert kept.load(replace(trial, seed=2)) is None
    found = kept.load(trial)
    assert replace(found, scored={}) == replace(result, scored={})
    assert found.scored.keys() == result.scored.keys()
    for name, (table, scores) in result.scored.items():
        again, scored = found.scored[name]
        assert np.array_equal(scored, scores, equal_nan=True)
        assert (again.thefts, again.start) == (table.thefts, table.start)
        assert all(np.array_equal(getattr(again, c), getattr(table, c)) for c in ("pane", "role", "steals"))


def test_peers_are_judged_on_fresh_organisations_by_thresholds_of_development_ones():
    """Every peer, end to end, on a role that suddenly reads a hundred times as much."""
    rng = np.random.default_rng(2)
    calm, _ = table(20, np.zeros(40))
    calm.figures[:] = rng.poisson(20, calm.figures.shape)
    robbed = replace(calm, figures=calm.figures.copy(), steals=calm.steals.copy(), thefts=["smash"])
    robbed.figures[-1] *= 1000
    robbed.steals[-1] = 0
    results = []
    for section, one in (("development", calm), ("named", robbed)):
        result = Result(Trial(section, 1, Shape(), ()), principal_days=360)
        result.scored = {name: (one, score(one)) for name, score in peers().items()}
        results.append(result)
    rows = [line.split(" | ") for line in peer_table(results).splitlines()[2:]]
    assert {row[0].removeprefix("| ") for row in rows} == set(peers())
    assert len(rows) == 3 * len(peers())
    caught = {row[0].removeprefix("| ") for row in rows if row[2].startswith("1 of 1")}
    assert {"z-score of objects", "z-score of new objects"} <= caught


def test_the_headline_leads_with_the_worse_case():
    results = []
    for names, by in (("named", "a-rule"), ("random", None)):
        result = Result(Trial(names, 1, Shape(names=names), ("drip",)), principal_days=1000)
        result.thefts = {"all 1": [Of("drip", 100, by, 60 if by else None, {"S3 files": 100})]}
        results.append(result)
    text = headline(results)
    assert text.index("random role names: 0 of 1") < text.index("named role names: 1 of 1")
    assert "drip round the clock" not in hard_cases(results)  # one of two
    assert "drip round the clock" in hard_cases(results[1:])
