"""Rules that change under a running daemon, and a crash around it: the old rules or the new ones, never half."""

import os
from pathlib import Path

import pytest

from detector.errors import InputError
from detector.journal import verify
from detector.rules import SETTLED, RuleFiles, read_book
from tests.crash.test_consumer_crash import NOW, RULE, Crash, Fuse, World, books, drain, thief

ANOTHER = """
  - id: another
    title: One role read 3 objects in five minutes
    severity: medium
    kind: threshold
    where: {operation: read, user_agent: "*", region: "*"}
    group_by: role
    measure: objects
    window: 5m
    threshold: 3
"""
CHANGED = RULE.replace("threshold: 20", "threshold: 25").replace("window: 1m", "window: 2m")
BROKEN = RULE.replace("measure: objects", "measure: lots")


@pytest.fixture(autouse=True, scope="module")
def _processes_crash_and_not_machines():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: None)
        yield


def reload(world, consumer, text):
    """The rule file is written anew and taken up."""
    (world.folder / "rules.yaml").write_text(text)
    consumer.reload(RuleFiles(world.folder / "rules.yaml").changed(asked=True))


def findings(world, rule="bulk"):
    bodies = [e["body"] for e in world.journal("finding") if e["body"]["rule_id"] == rule]
    return [{k: v for k, v in body.items() if k != "sent_at"} for body in bodies]


def story(world, *texts, restarts=(), fuse=None):
    """A theft over three files; after each the next of these rule files is taken up."""
    consumer = world.consumer(fuse)
    try:
        consumer.start()
        records = thief("thief-1", NOW - 300, 45)
        for number in range(3):
            world.put(str(number), records[number * 15 : number * 15 + 15])
            drain(consumer)
            if number < len(texts) and texts[number]:
                reload(world, consumer, texts[number])
            if number in restarts:
                consumer.stop()
                consumer = world.consumer(fuse)
                consumer.start()
        consumer.close_all()
        consumer.stop()
    finally:
        world.gone()
    return consumer


def worlds(tmp_path, *names):
    made = []
    for name in names:
        (tmp_path / name).mkdir()
        made.append(World(tmp_path / name))
    return made


@pytest.mark.parametrize("restarts", [(), (0, 1)])
def test_rules_that_do_not_touch_a_rule_do_not_touch_its_findings(tmp_path, restarts):
    """The same file, one with comments, and another rule that needs further columns: the theft is told as without."""
    straight, changed = worlds(tmp_path, "straight", "changed")
    alone = story(straight)
    both = story(changed, RULE, "# checked\n" + RULE, RULE + ANOTHER, restarts=restarts)
    assert findings(changed) == findings(straight) != []
    assert books(both) == books(alone)
    [told] = changed.journal("reload")
    assert told["body"]["added"] == ["another"]
    assert set(told["body"]["rules"]) == {"another", "bulk"}
    assert told["body"]["counting_from"].endswith("Z")
    assert verify(changed.folder / "journal.jsonl") == []


def test_a_rule_that_comes_counts_from_then_on_with_the_columns_it_needs(tmp_path):
    [world] = worlds(tmp_path, "one")
    consumer = story(world, RULE + ANOTHER)
    assert {"region", "user_agent"} <= consumer._intake.columns
    opened, *_ = findings(world, "another")
    assert opened["state"] == "opened"
    assert findings(world, "another")[-1]["peak_value"] == 30  # of 45: fifteen came before it
    assert not consumer.engine.failures


@pytest.mark.parametrize("changed", [CHANGED, RULE.replace("id: bulk", "id: other")], ids=["changed", "removed"])
@pytest.mark.parametrize("restarted", [False, True])
def test_a_rule_that_changes_or_goes_closes_what_it_opened(tmp_path, changed, restarted):
    """In the running daemon and over a restart alike: one closing alert, of the same alert id, that says why."""
    [world] = worlds(tmp_path, "one")
    consumer = world.consumer()
    consumer.start()
    world.put("a", thief("thief-1", NOW - 300))
    drain(consumer)
    if restarted:
        consumer.stop()
        (world.folder / "rules.yaml").write_text(changed)
        consumer = world.consumer()
        consumer.start()
    else:
        reload(world, consumer, changed)
    opened, closed = findings(world)
    assert (opened["state"], closed["state"]) == ("opened", "closed")
    assert closed["alert_id"] == opened["alert_id"]
    assert closed["ended_by"] == ("rule changed" if changed is CHANGED else "rule removed")
    assert "Ended early" in closed["explanation"]
    assert [a["state"] for a in world.alerts()] == ["opened", "closed"]
    parts = set(consumer.edges.store.load())
    assert not any(name.startswith(("tally/bulk/", "keys/bulk/")) for name in parts)
    assert len(world.journal("reload")) == 1
    world.gone()


def test_a_broken_file_keeps_the_old_rules_raises_an_alarm_and_closes_it(tmp_path):
    """Every problem with its place, in log and journal; the theft is caught all the same; then all is well again."""
    straight, world = worlds(tmp_path, "straight", "broken")
    story(straight)
    story(world, BROKEN, None, RULE)
    assert findings(world) == findings(straight)
    [broken] = [fields["problem"] for event, fields in world.said if event == "rules_broken"]
    assert "rules.yaml:9:14: measure: expected" in broken
    [entry] = world.journal("rules_broken")
    assert entry["body"] == {"problems": [broken], "count": 1}
    alarms = findings(world, "blind-rules")
    assert [a["state"] for a in alarms] == ["opened", "closed"]
    assert "rules.yaml:9:14" in alarms[0]["explanation"]
    assert not world.journal("reload")


@pytest.mark.parametrize("what", ["gone", "empty", "no rules", "no text"])
def test_rule_files_that_cannot_be_used_at_all_are_as_good_as_broken(tmp_path, what):
    [world] = worlds(tmp_path, "one")
    consumer = world.consumer()
    consumer.start()
    path = world.folder / "rules.yaml"
    path.unlink()
    if what != "gone":
        path.write_bytes({"empty": b"", "no rules": b"rules: []\n", "no text": b"\xff\xfe\x00"}[what])
    found = RuleFiles(path).changed(asked=True)
    assert isinstance(found, InputError)
    consumer.reload(found)
    drain(consumer)
    assert [f["state"] for f in findings(world, "blind-rules")] == ["opened"]
    assert list(consumer._rules) == ["bulk"]
    world.gone()


def test_a_crash_around_a_reload_leaves_the_old_rules_or_the_new_ones(tmp_path):
    """At every call across an edge: whoever takes over has one closing, one `reload`, and no part of the old rule."""
    [world] = worlds(tmp_path, "counted")
    places = Fuse()
    story(world, None, CHANGED, fuse=places)
    expected = findings(world)
    assert [f["state"] for f in expected][:2] == ["opened", "closed"]
    for at, place in enumerate(places.passed):
        if place.startswith("before") and at:
            continue
        [world] = worlds(tmp_path, str(at))
        try:
            story(world, None, CHANGED, fuse=Fuse(at))
        except Crash:
            consumer = world.consumer()
            consumer.start()
            reload(world, consumer, CHANGED)
            assert len(world.journal("reload")) == 1, place
            told = [f for f in findings(world) if f.get("ended_by")]
            assert told == [f for f in expected if f.get("ended_by")] or not told, place
            assert [f["alert_id"] for f in findings(world) if f["state"] == "opened"] == list(
                dict.fromkeys(f["alert_id"] for f in findings(world))
            ), place
            digests = {n for n in consumer.edges.store.load() if n.startswith("watch/")}
            assert digests == {"watch/bulk"}
            assert verify(world.folder / "journal.jsonl") == []
            world.gone()


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_files_are_read_when_they_stand_still(tmp_path):
    """A change is taken up once, after it has stood still for a moment; what did not change is never read."""
    path, clock = tmp_path / "rules", Clock()
    path.mkdir()
    (path / "a.yaml").write_text(RULE)
    files = RuleFiles(path, clock)
    assert [rule.id for rule in files.read().rules] == ["bulk"]
    assert files.changed() is None

    def after(seconds):
        clock.now += seconds
        return files.changed()

    assert after(10) is None
    (path / "a.yaml").write_text(RULE + ANOTHER)
    assert after(1.1) is None
    (path / "b.txt").write_text("no rules")
    (path / "a.yaml").write_text(RULE + ANOTHER + "# more\n")
    assert after(SETTLED) is None
    assert [rule.id for rule in after(SETTLED).rules] == ["another", "bulk"]
    assert after(10) is None
    (path / "a.yaml").unlink()
    after(1.1)
    assert isinstance(after(SETTLED), InputError)
    assert after(10) is None
    assert isinstance(files.changed(asked=True), InputError)


def test_a_folder_that_is_swapped_by_a_link_is_read_anew(tmp_path):
    """As orchestrators mount configuration: the file's name leads to another file."""
    clock = Clock()
    for name, text in (("one", RULE), ("two", RULE + ANOTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.yaml").write_text(text)
    link = Path(tmp_path / "rules")
    link.symlink_to("one")
    files = RuleFiles(link, clock)
    files.read()
    link.unlink()
    link.symlink_to("two")
    clock.now = 1.1
    assert files.changed() is None
    clock.now += SETTLED
    assert len(files.changed().rules) == 2


def test_a_list_of_addresses_is_read_anew_when_it_changes(tmp_path):
    """A feed that is renewed beside a rule file: its rule counts with the new list, as after any change of a rule."""
    clock = Clock()
    path, listed = tmp_path / "rules.yaml", tmp_path / "bad.txt"
    path.write_text(RULE.replace("where: {", "where: {source_ip_in: bad.txt, "))
    listed.write_text("203.0.113.0/24\n")
    (tmp_path / "notes.txt").write_text("no list, and no rule names it")
    files = RuleFiles(path, clock)
    (before,) = files.read().rules
    listed.write_text("203.0.113.0/24\n198.51.100.7\n")
    clock.now = 1.1
    assert files.changed() is None
    clock.now += SETTLED
    book = files.changed()
    assert book.rules[0].digest() != before.digest()
    assert set(book.files) == {str(path), str(listed)}
    assert read_book(book.files).rules == book.rules
    listed.unlink()
    clock.now += 1.1
    assert files.changed() is None
    clock.now += SETTLED
    assert "found no 'bad.txt'" in str(files.changed().problems[0])
