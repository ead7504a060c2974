"""What pages nobody is counted and told: staged rules in the digest of a day, suppressions in journal and metrics."""

import pytest
from typer.testing import CliRunner

from detector.cli import app
from detector.core.rulefile import read_rules
from detector.errors import RuleFileError
from detector.rules import RuleFiles, read_book
from tests.crash.test_consumer_crash import NOW, RULE, World, drain, thief

DAY = 86_400
STAGED = RULE.replace("    respond: [revoke]\n", "    stage: staged   # not yet\n")
HUSHED = RULE + "suppress:\n  - {rule: bulk, group: '*thief-1', until: 2026-05-02, owner: dana, reason: drill}\n"


def reload(world, consumer, text):
    (world.folder / "rules.yaml").write_text(text)
    consumer.reload(RuleFiles(world.folder / "rules.yaml").changed(asked=True))


def story(world, text, *, restart=False, **changes):
    """Two thieves, the end of the data, and the next day."""
    (world.folder / "rules.yaml").write_text(text)
    consumer = world.consumer(**changes)
    consumer.start()
    for name in ("thief-1", "thief-2"):
        world.put(name, thief(name, NOW - 300, 45))
        drain(consumer)
        if restart:
            consumer.stop()
            consumer = world.consumer(**changes)
            consumer.start()
    consumer.close_all()
    counted = consumer.values()
    for _ in range(2):
        world.now += DAY
        consumer.turn(0)
    consumer.stop()
    return counted


def alerts(world):
    path = world.folder / "alerts.jsonl"
    return [a for a in (world.alerts() if path.exists() else []) if a.get("rule_id") in ("bulk", "bucketwatch.daily")]


@pytest.mark.parametrize("restart", [False, True])
def test_a_staged_rule_pages_nobody_and_is_told_once_a_day(tmp_path, restart):
    """Nobody is paged or revoked; the next day's first turn journals how often it would have been, and by whom."""
    world = World(tmp_path)
    story(world, STAGED, restart=restart)
    assert alerts(world) == []
    assert world.responder.calls == []
    (entry,) = world.journal("daily")
    (told,) = entry["body"]["daily"]["staged"]
    assert (told["rule_id"], told["would_have_paged"], told["in_other_groups"]) == ("bulk", 2, 0)
    assert sorted(group.rpartition("/")[2] for group in told["groups"]) == ["thief-1", "thief-2"]
    assert told["worst"]["peak_value"] >= told["worst"]["threshold"] == 20
    assert "bulk would have paged 2 times" in entry["body"]["explanation"]


def test_the_digest_is_sent_where_that_is_wanted(tmp_path):
    world = World(tmp_path)
    story(world, STAGED, daily_digest="send")
    (sent,) = alerts(world)
    assert (sent["rule_id"], sent["state"], sent["severity"]) == ("bucketwatch.daily", "closed", "info")
    assert sent["daily"]["staged"][0]["would_have_paged"] == 2


def test_what_is_suppressed_is_journalled_and_counted_and_not_sent_nor_answered(tmp_path):
    """One of two thieves is a drill: of it nothing is sent, nothing is revoked, and everything is in the journal."""
    world = World(tmp_path)
    counted = story(world, HUSHED)
    sent = alerts(world)
    assert {a["group"]["session"].rpartition("/")[2] for a in sent} == {"thief-2"}
    assert [a.get("suppressed_before") for a in sent] == [1, None]
    bodies = [e["body"] for e in world.journal("finding") if e["body"]["rule_id"] == "bulk"]
    hushed = [body for body in bodies if "suppressed" in body]
    assert {body["group"]["session"].rpartition("/")[2] for body in hushed} == {"thief-1"}
    assert all(body["suppressed"]["owner"] == "dana" for body in hushed)
    assert counted["alerts_suppressed"] == len(hushed) == 2
    assert len(world.responder.calls) == 1
    (entry,) = world.journal("daily")
    (told,) = entry["body"]["daily"]["suppressed"]
    assert (told["reason"], told["count"], told["rules"]) == ("drill", 2, {"bulk": 2})


def test_a_suppression_ends_by_itself(tmp_path):
    world = World(tmp_path)
    story(world, HUSHED.replace("2026-05-02", "2026-05-01T08:00:00Z"))
    assert len({a["group"]["session"] for a in alerts(world)}) == 2
    assert world.journal("daily") == []


def test_a_suppression_that_comes_while_the_daemon_runs_counts_at_once(tmp_path):
    world = World(tmp_path)
    consumer = world.consumer()
    consumer.start()
    reload(world, consumer, HUSHED)
    world.put("one", thief("thief-1", NOW - 300, 45))
    drain(consumer)
    consumer.stop()
    assert alerts(world) == []


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{rule: bulk, until: soon, owner: o, reason: r}", "until: expected a day such as 2026-05-01"),
        ("{until: 2026-05-02, owner: o, reason: r}", "expected rule, group or alert"),
        ("{rule: bulk, until: 2026-05-02, reason: r}", "owner: required field is missing"),
        ("{rul: bulk, until: 2026-05-02, owner: o, reason: r}", "rul: unknown field; did you mean 'rule'?"),
        ("bulk", "expected a suppression"),
    ],
)
def test_a_suppression_that_says_too_little_is_refused(line, told):
    with pytest.raises(RuleFileError, match=told):
        read_book({"r.yaml": f"{RULE}suppress:\n  - {line}\n"})


def test_a_suppression_of_no_rule_is_a_mistake(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text(f"{RULE}suppress:\n  - {{rule: blk, until: 2126-05-02, owner: o, reason: r}}\n")
    done = CliRunner().invoke(app, ["rules", "check", str(path)])
    assert [problem.message for problem in done.exception.problems] == [
        "suppress.rule: no rule has the id 'blk'; did you mean 'bulk'?"
    ]


def promote(tmp_path, *words):
    config = tmp_path / "bucketwatch.yaml"
    config.write_text(
        f"source: {{kind: directory, path: {tmp_path}/logs}}\nrules: {tmp_path}/rules.yaml\n"
        f"state: {{kind: sqlite, path: {tmp_path}/state.db}}\njournal: {{path: {tmp_path}/journal.jsonl}}\n"
    )
    return CliRunner().invoke(app, ["rules", "promote", *words, "--config", str(config)])


def test_a_rule_is_promoted_by_one_word_and_its_past_is_shown(tmp_path):
    story(World(tmp_path), STAGED)
    done = promote(tmp_path, "bulk", "--yes")
    assert done.exit_code == 0, done.output
    assert "bulk would have paged 2 times on 1 days" in done.output
    assert "thief-1" in done.output
    assert (tmp_path / "rules.yaml").read_text() == STAGED.replace("stage: staged ", "stage: live ")
    assert [rule.stage for rule in read_rules({"r": (tmp_path / "rules.yaml").read_text()})] == ["live"]


@pytest.mark.parametrize(
    ("text", "rule", "told"),
    [
        (STAGED, "blk", "no rule has the id blk"),
        (STAGED, "nothing-like-it", "no rule has the id nothing-like-it"),
        (RULE, "bulk", "it is live already"),
    ],
)
def test_what_cannot_be_promoted_is_said(tmp_path, text, rule, told):
    story(World(tmp_path), text)
    done = promote(tmp_path, rule, "--yes")
    assert told in str(done.exception)
    assert (tmp_path / "rules.yaml").read_text() == text


def test_without_a_yes_nothing_changes(tmp_path):
    story(World(tmp_path), STAGED)
    assert promote(tmp_path, "bulk").exit_code == 1
    assert (tmp_path / "rules.yaml").read_text() == STAGED


def test_a_rule_beside_a_list_of_addresses_is_promoted_before_the_daemon_ever_ran(tmp_path):
    """Lines end as they did, and no other rule changes, not even one that says its stage by the same anchor."""
    listed = STAGED.replace("where: {", "where: {source_ip_in: bad.txt, ")
    assert listed != STAGED
    (tmp_path / "bad.txt").write_text("192.0.2.0/24\n")
    (tmp_path / "rules.yaml").write_bytes(listed.replace("\n", "\r\n").encode())
    done = promote(tmp_path, "bulk", "--yes")
    assert done.exit_code == 0, done.output
    told = listed.replace("stage: staged", "stage: live").replace("\n", "\r\n").encode()
    assert (tmp_path / "rules.yaml").read_bytes() == told


def test_a_word_that_is_another_rules_too_is_not_changed(tmp_path):
    text = STAGED.replace("stage: staged", "stage: &s staged")
    other = text.split("rules:\n", 1)[1].replace("id: bulk", "id: other").replace("&s staged", "*s")
    (tmp_path / "rules.yaml").write_text(text + other)
    done = promote(tmp_path, "bulk", "--yes")
    assert "the word could not be changed" in str(done.exception)
    assert (tmp_path / "rules.yaml").read_text() == text + other
