"""What is said of the logs' coverage: where they are silent, whether that is a hole, and what they never saw."""

from __future__ import annotations

import json

import numpy as np
import pytest

from detector.core.access import Log, Operation, Row
from detector.core.admit import Admission
from detector.core.coverage import DAY, Coverage
from detector.core.times import epoch, iso
from replay.covered import covered, line
from replay.holes import gaps, judge
from tests.core.test_coverage import MAY, batch

PLACE = "111122223333/us-east-1"
FIRST = MAY // 300
NONE = np.zeros(0, np.int64)


def days(count, *, hours=range(24), every=1):
    """Slots of so many days from May on, in these hours of the day, every so many slots."""
    slots = np.arange(FIRST, FIRST + count * DAY)
    return slots[np.isin(slots % DAY // 12, list(hours)) & (slots % every == 0)]


def without(slots, day, first_hour, end_hour):
    first, end = (FIRST + day * DAY + hour * 12 for hour in (first_hour, end_hour))
    return slots[(slots < first) | (slots >= end)]


def judged(slots, delivered=NONE):
    holes, quiet = judge(slots, delivered, int(slots[0]), int(slots[-1]) + 1)
    return [(hole.sure, (hole.first - FIRST) / DAY, (hole.end - hole.first) // 12) for hole in holes], quiet


NIGHTS = days(14, hours=range(8, 20))
WEEKS = days(35, hours=range(8, 20))
OFFICE = WEEKS[~np.isin((WEEKS - FIRST) // DAY % 7, (5, 6))]


@pytest.mark.parametrize(
    ("what", "slots", "holes"),
    [
        ("steady", days(14), []),
        ("seven hours gone", without(days(14), 6, 3, 10), [("likely", 6.125, 7)]),
        ("one hour gone", without(days(14), 6, 12, 13), [("likely", 6.5, 1)]),
        ("two days gone", without(days(14), 6, 0, 48), [("likely", 6.0, 48)]),
        ("two holes at the same hour", without(without(days(14), 3, 3, 10), 9, 3, 10),
         [("likely", 3.125, 7), ("likely", 9.125, 7)]),
        ("quiet nights", NIGHTS, []),
        ("quiet nights, an afternoon gone", without(NIGHTS, 6, 13, 17), [("likely", 6 + 13 / 24, 4)]),
        ("quiet nights and weekends", OFFICE, []),
        ("quiet nights and weekends, a working day gone", without(OFFICE, 8, 0, 24), [("likely", 8 - 4 / 24, 36)]),
        ("one weekend alone", OFFICE[OFFICE < FIRST + 12 * DAY], [("possible", 5 - 4 / 24, 60)]),
        ("a record every five hours or so", days(60, every=61), []),
        ("a record every half hour, a day gone", without(days(14, every=6), 6, 0, 24), [("likely", 6, 24)]),
        ("two records an hour, two hours gone", without(days(14, every=6), 6, 12, 14), [("possible", 6.5, 2)]),
        ("one day only, seven hours gone", without(days(1), 0, 9, 16), [("possible", 0.375, 7)]),
        ("a night between two days", days(2, hours=range(6, 22)), [("possible", 22 / 24, 8)]),
        ("a few records in all", days(1)[[0, 5, 200]], []),
        ("an hour, and another a year later", np.concatenate([days(1)[:12], days(366)[-12:]]), []),
    ],
)  # fmt: skip
def test_a_hole_is_where_other_days_have_records(what, slots, holes):
    found, _ = judged(slots)
    assert [(sure, round(day, 2), hours) for sure, day, hours in found] == [
        (sure, pytest.approx(day, abs=0.1), pytest.approx(hours, abs=1)) for sure, day, hours in holes
    ], what


def test_what_is_quiet_is_counted():
    assert judged(NIGHTS) == ([], 13)


def test_files_delivered_meanwhile_show_that_the_log_was_alive():
    slots = without(days(14), 6, 3, 10)
    delivered = days(14)
    assert [sure for sure, *_ in judged(slots, slots + 1)[0]] == ["likely"]
    assert [sure for sure, *_ in judged(slots, delivered)[0]] == ["possible"]


def test_gaps_are_what_a_loop_over_all_slots_finds():
    """An own wording: run lengths of the slots that are not in the set."""
    random = np.random.default_rng(5)
    for _ in range(50):
        start, end = 1000, 1400
        seen = np.unique(random.integers(start, end, random.integers(1, 30)))
        expected, run = [], 0
        for slot in range(start, end + 1):
            if slot < end and slot not in set(seen.tolist()):
                run += 1
            else:
                expected += [(slot - run, slot)] if run >= 12 else []
                run = 0
        assert list(zip(*(edge.tolist() for edge in gaps(seen, start, end)), strict=True)) == expected


def ledger(*sources, buckets=()):
    """sources: (log, partition, slots). buckets: (log, bucket, operation)."""
    whole = Coverage()
    for log, place, slots in sources:
        whole.add(batch([Row(log, slot * 300, 1, place) for slot in slots.tolist()]))
    whole.add(batch([Row(log, MAY, 1, PLACE, operation=did, bucket=name) for log, name, did in buckets]))
    return whole


def test_a_source_that_ends_before_the_others_has_a_hole_at_its_end():
    early = days(10)
    told = covered(ledger((Log.cloudtrail, PLACE, days(12)), (Log.cloudtrail, "444455556666/us-east-1", early)))
    assert [(h["account"], h["from"], h["until"], h["at"], h["sure"]) for h in told["holes"]] == [
        ("444455556666", "2026-05-11T00:00:00Z", "2026-05-13T00:00:00Z", "end", "likely")
    ]
    assert line(told) == (
        "covers 2026-05-01T00:00:00Z to 2026-05-13T00:00:00Z, 2 accounts, 1 region; 1 hole: "
        "cloudtrail 444455556666/us-east-1 2026-05-11T00:00:00Z to 2026-05-13T00:00:00Z (likely)"
    )


def test_kinds_of_log_are_judged_by_themselves():
    """An access log that begins later than the trail is no hole in it."""
    told = covered(ledger((Log.cloudtrail, PLACE, days(12)), (Log.server_access, "owner/", days(12)[DAY:])))
    assert told["holes"] == []
    assert [(s["log"], s["account"], s["region"]) for s in told["sources"]] == [
        ("cloudtrail", "111122223333", "us-east-1"),
        ("server_access", "owner", None),
    ]


def test_the_period_asked_for_is_what_has_to_be_covered():
    """What lies outside is left out; what is missing at its ends is a hole."""
    whole = ledger((Log.cloudtrail, PLACE, days(12)))
    within = covered(whole, (), Admission(epoch("2026-05-03"), epoch("2026-05-04")))
    assert (within["from"], within["until"], within["holes"]) == ("2026-05-03T00:00:00Z", "2026-05-04T00:00:00Z", [])
    beyond = covered(whole, (), Admission(epoch("2026-04-30"), epoch("2026-05-14")))
    assert [(h["from"], h["at"]) for h in beyond["holes"]] == [
        ("2026-04-30T00:00:00Z", "start"),
        ("2026-05-13T00:00:00Z", "end"),
    ]


def test_a_source_shows_its_hours():
    (source,) = covered(ledger((Log.cloudtrail, PLACE, days(2, hours=[0, 5], every=2))))["sources"]
    shown = "6" + "0" * 4 + "6" + "0" * 18
    assert source["hours_by_day"] == {"2026-05-01": shown, "2026-05-02": shown}
    assert source["hours"] == 4
    assert (source["from"], source["until"]) == (iso(MAY), iso(MAY + 86_400 + 6 * 3600 - 300))


@pytest.mark.parametrize(
    ("seen", "blind"),
    [
        ([(Log.cloudtrail, Operation.control)], "settings and writes alone"),
        ([(Log.cloudtrail, Operation.write)], "settings and writes alone"),
        ([(Log.cloudtrail, Operation.decrypt), (Log.cloudtrail, Operation.control)], "KMS decrypted"),
        ([(Log.cloudtrail, Operation.decrypt), (Log.cloudtrail, Operation.read)], None),
        ([(Log.cloudtrail, Operation.control), (Log.server_access, Operation.write)], None),
        ([(Log.access_audit, Operation.read)], None),
    ],
)
def test_a_bucket_whose_reads_seem_not_to_be_logged_is_named(seen, blind):
    (bucket,) = covered(ledger(buckets=[(log, "ml-voice", did) for log, did in seen]))["buckets"]
    assert (blind in bucket["blind"]) if blind else ("blind" not in bucket)


def test_a_bucket_that_only_one_of_two_logs_has_is_marked():
    of_both = [(log, "ml-voice", Operation.read) for log in (Log.cloudtrail, Log.server_access)]
    told = covered(ledger(buckets=[*of_both, (Log.cloudtrail, "ml-text", Operation.read)]))
    assert [(one["bucket"], one.get("only")) for one in told["buckets"]] == [
        ("ml-text", "cloudtrail"),
        ("ml-voice", None),
    ]


def test_nothing_read_is_nothing_covered():
    told = covered(Coverage())
    assert line(told) == "covers nothing: no record with a time"
    assert json.loads(json.dumps(told)) == told
