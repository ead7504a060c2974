"""Laws of plain text: what a stranger wrote into a log cannot act on the reader's terminal or mail."""

from hypothesis import given
from hypothesis import strategies as st

from detector.response.plain import headline, message, printable

ALERT = {
    "title": "Bulk read",
    "rule_id": "bulk",
    "alert_id": "a-1",
    "severity": "high",
    "state": "opened",
    "group": {"session": "arn:aws:sts::1:assumed-role/R/n"},
    "explanation": "read a lot",
    "opened_at": "2026-05-01T09:00:00Z",
    "last_at": "2026-05-01T09:05:00Z",
    "measure": "objects",
    "threshold": 10_000,
    "peak_value": 12_500,
    "window_seconds": 300,
    "evidence": {"requests": 12_544, "objects": 12_500, "bytes": 9},
    "plan": {"commands": ["aws iam put-role-policy --role-name=R", "undo"], "steps": []},
    "runbook": "1. call\n2. act",
}


def test_rules_that_are_still_learning_are_named():
    """Their silence means nothing yet; a name in it cannot break a line."""
    assert "learning" not in message(ALERT)
    text = message(ALERT | {"learning": ["role-baseline", "odd\nname"]})
    assert "Still learning, and silent until then: role-baseline, odd\\nname\n" in text


def test_a_message_answers_what_who_how_much_and_how_to_stop():
    """The mail alone is enough to act on: what, who, how much, still reading or not, one command, the runbook."""
    text = message(ALERT)
    for part in ("Bulk read", "assumed-role/R/n", "12,500 objects", "STILL READING", "--role-name=R", "2. act"):
        assert part in text
    assert "undo" not in text


def test_without_a_command_the_first_step_stands_there():
    """Where no command helps, the mail says what a person does."""
    assert "ask the owner" in message(ALERT | {"plan": {"commands": [], "steps": ["ask the owner", "b"]}})


@given(st.text())
def test_printable_text_is_one_line_that_shows_as_itself(text):
    """Line breaks, terminal codes and characters that reverse the direction of writing are escaped."""
    assert printable(text).isprintable()
    assert len(printable(text, 10)) <= 10


@given(st.text(), st.text())
def test_no_name_adds_a_line(name, title):
    """However a session is named, the mail has the lines it has."""
    hostile = ALERT | {"group": {"session": name}, "title": title or "t", "explanation": name or "e"}
    assert message(hostile).count("\n") == message(ALERT).count("\n")
    assert headline(hostile).isprintable()


def test_an_empty_alert_still_has_a_text():
    """Nothing that is missing from an alert keeps it from being told."""
    assert "nobody in particular" in message({})
