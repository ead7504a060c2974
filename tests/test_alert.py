"""An alert's body: the contract's fields by state."""

import pytest

from detector.alert import alert
from tests.kinds import DAY, KIND, T0, Daemon, Fact


@pytest.fixture(scope="module")
def told():
    """Findings of what is new: of the first nothing is left in the end, the second grows."""
    example = KIND["first_seen"]
    daemon = Daemon(example.rule("first_seen"))
    for fact in (
        Fact(T0), Fact(T0 + 3 * DAY), Fact(T0 + 4 * DAY, role="A"), Fact(T0 + 2 * DAY, role="A"),
        Fact(T0 + 4 * DAY + 9, role="B"), Fact(T0 + 4 * DAY + 99, role="C"),
    ):  # fmt: skip
        daemon.poll([fact])
    daemon.end()
    return daemon.rule, daemon.told


@pytest.mark.parametrize(
    ("state", "final"), [("opened", False), ("updated", False), ("closed", True), ("withdrawn", True)]
)
def test_the_last_word_names_all_alerts_and_only_a_closed_one_its_finding(told, state, final):
    """Whatever comes between: one alert id runs through it."""
    rule, findings = told
    bodies = [alert(f, rule, None, f.last_at + 60) for f in findings if f.state == state]
    assert bodies
    for body in bodies:
        assert ("alert_ids" in body) is final
        assert ("finding_id" in body) is (state == "closed")
        assert body["alert_id"].startswith("a-")
        assert body["delivery_delay_seconds"] == 60
