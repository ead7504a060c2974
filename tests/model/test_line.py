"""Laws of `Line`: the alert line that asks for a budget and gets about that."""

import math

import numpy as np
import pytest

from detector.model.calibration import DAYS, SHIPPED_HIGH, SHIPPED_SLOPE, Line


def fed(share, *days, principals=1000):
    line = Line(share)
    for number, scores in enumerate(days):
        line.add(number, principals, 0, list(scores))
    return line


def scores(seed, days, heavy=1.0, principals=1000):
    draw = np.random.default_rng(seed)
    return [np.maximum(0, draw.exponential(heavy, principals) - heavy) for _ in range(days)]


@pytest.mark.parametrize("asked", [1, 3, 10])
@pytest.mark.parametrize("heavy", [0.6, 1.0, 2.0])
def test_what_is_asked_for_is_about_what_comes(asked, heavy):
    """Alerts a day per 1,000 principals over 200 fresh days, whatever the scores' scale: within a factor of three."""
    line = fed(asked / 1000, *scores(1, 14, heavy))
    realised = np.mean([(day >= line.level).sum() for day in scores(2, 200, heavy)])
    assert asked / 3 <= realised <= asked * 3


@pytest.mark.parametrize("asked", [1, 3, 10])
def test_a_quiet_beginning_does_not_draw_the_line_low(asked):
    """Four days of 150 principals in which nobody moved say little of the week after, which is a decade louder."""
    draw = np.random.default_rng(7)

    def days(high, count):
        return high + SHIPPED_SLOPE * (draw.exponential(1 / math.log(10), (count, 150)) - 2)

    lines = [fed(asked / 1000, *days(SHIPPED_HIGH - SHIPPED_SLOPE, 4), principals=150).level for _ in range(40)]
    realised = np.mean([1000 * (days(SHIPPED_HIGH, 50) >= line).mean() for line in lines])
    assert asked / 3 <= realised <= asked * 3


def test_a_loud_beginning_is_believed_at_once():
    """Where the scores of everybody are high, three days are enough to ask for more than we ship, and never less."""
    line = fed(0.001, *scores(8, 3, 4.0))
    assert Line(0.001).level + 3 < line.level < fed(0.001, *scores(8, 14, 4.0)).level + 3


def test_thefts_do_not_move_the_line():
    """Four alerts a day among 1,000 principals, where one was asked for, raise it by less than a decade's worth."""
    quiet = scores(3, 14)
    line = Line(0.001)
    for number, day in enumerate(quiet):
        line.add(number, 1000, 4, list(day[day < line.level]))
    assert line.level - fed(0.001, *quiet).level < 1.0


def test_a_smaller_budget_is_a_higher_line():
    """Asking for less never gives more."""
    levels = [fed(asked / 1000, *scores(4, 7)).level for asked in (10, 3, 1, 0.3)]
    assert levels == sorted(levels)


def test_it_forgets_after_28_days_and_comes_back_from_its_state():
    """The trailing weeks count; a restored line is the same to the last bit."""
    line = fed(0.001, *scores(5, 60))
    assert line.principal_days == DAYS * 1000
    again = Line(0.001)
    again.load(line.state())
    assert (again.level, again.state()) == (line.level, line.state())


def test_a_day_that_was_a_theft_can_be_taken_out():
    """What a person marked as true says nothing about what is usual."""
    days = scores(6, 3, principals=50)
    thief = 40.000_004
    line = fed(0.001, *(np.append(day, thief) for day in days), principals=51)
    for number in range(3):
        line.drop(number, 40.0)  # as its finding shows it
    assert line.level == fed(0.001, *days, principals=51).level


def test_an_alert_that_was_none_counts_alike_before_and_after_its_midnight():
    """Who looks at an alert at once says as much as who looks at it the next day; and no day is learned by it."""
    early, late = (fed(0.001, *scores(9, 3, 2.0)) for _ in range(2))
    before, told = early.level, (12.0, 15.0)
    for score in told:
        early.count(3, score)
    today = scores(10, 1, 2.0)[0]
    for line in (early, late):
        line.add(3, 1000, 3, list(today))
    for score in told:
        late.count(3, score)
    assert early.state() == late.state()
    assert early.level == late.level != before


def test_a_verdict_on_a_day_that_is_not_learned_ripens_nothing():
    """A line below the shipped one is believed as days are learned, not as people say something."""
    line, quiet = fed(0.001, *scores(11, 2, 0.3)), fed(0.001, *scores(11, 2, 0.3)).level
    for day in range(2, 14):
        line.count(day, 8.0)
    assert line.level >= quiet
