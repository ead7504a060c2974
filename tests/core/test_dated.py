"""Names tell when a log was delivered: what cannot count is passed over, whatever else is read."""

import pytest

from detector.core.dated import ALWAYS, Period
from detector.core.times import epoch
from detector.source import Leaf
from detector.walk import walk
from replay.arguments import admission

TRAIL = "x/AWSLogs/o-abc123/111122223333/CloudTrail/us-east-1"
ACCESS = "logs/111122223333/us-east-1/ml-voice"
MAY = Period.of(admission("2026-05-10", "2026-05-12", []))


@pytest.mark.parametrize(
    ("name", "passed"),
    [
        (f"{TRAIL}/2025/", True),
        (f"{TRAIL}/2026/", False),
        (f"{TRAIL}/2026/04/", True),
        (f"{TRAIL}/2026/05/", False),
        (f"{TRAIL}/2026/06/", True),
        (f"{TRAIL}/2026/05/08/", True),
        (f"{TRAIL}/2026/05/09/", False),  # a clock may be an hour ahead
        (f"{TRAIL}/2026/05/13/", False),  # delivered up to two days late
        (f"{TRAIL}/2026/05/14/", True),
        (f"{TRAIL}/2026/99/", False),  # no date
        (f"{ACCESS}/2026/05/08/", True),
        (f"{ACCESS}/2026/05/11/", False),
        ("case/2025/", False),  # somebody's own folder
        ("archive/date=2026-05-08/", True),
        ("archive/date=2026-05-11/hour=07/", False),
        ("archive/date=2026-05-09/hour=22/", True),
        ("any/111122223333_CloudTrail_us-east-1_20260509T2300Z_abc.json.gz", False),
        ("any/111122223333_CloudTrail_us-east-1_20260509T2259Z_abc.json.gz", True),
        ("any/2026-05-14-00-00-01-0123456789ABCDEF", True),
        ("any/2026-05-13-23-59-59-0123456789ABCDEF", False),
        ("any/2026-05-09-00-00-00-0123456789ABCDEF", False),  # may be of the whole day
        ("any/2026-05-08-00-00-00-0123456789ABCDEF", True),
        ("any/2025-05-08-notes.gz", False),
    ],
)
def test_what_is_passed_over(name, passed):
    assert MAY.passes_over(name) is passed
    assert not ALWAYS.passes_over(name)


def test_what_is_passed_over_is_told():
    """The very times between which a name has to lie."""
    told = MAY.told()
    assert told == {"delivered_before": "2026-05-09T23:00:00Z", "delivered_from": "2026-05-14T00:00:00Z"}
    assert ALWAYS.told() == {"delivered_before": None, "delivered_from": None}


class Counted:
    """A folder of access logs of ten years, and which pages of it are asked for."""

    def __init__(self) -> None:
        days = [
            f"{year}-{month:02}-{day:02}" for year in range(2020, 2030) for month in (1, 5, 12) for day in (1, 11, 28)
        ]
        names = [f"log/{day}-10-00-00-0123456789ABCDEF" for day in days]
        self.names = sorted([*names, "log/202512345678/", "log/app.gz"])
        self.given: list[str] = []

    def begin(self, folder):
        pass

    def level(self, folder, after=""):
        if folder != "log/":
            yield Leaf(f"{folder}inside.gz")
            return
        for name in self.names:
            if name > after:
                self.given.append(name)
                yield Leaf(name)


def test_years_are_not_listed_for_a_day():
    """What is not called as access logs are is read, also where it stands between them."""
    tree = Counted()
    found = [leaf.name for leaf in walk(tree, "log/", MAY)]
    assert found == ["log/202512345678/inside.gz", "log/2026-05-11-10-00-00-0123456789ABCDEF", "log/app.gz"]
    assert len(tree.given) < 20
    assert MAY.first == epoch("2026-05-09T23:00:00Z")


class Deep:
    """A folder in a folder, as deep as a key of S3 is long."""

    def begin(self, folder):
        pass

    def level(self, folder, after=""):
        yield Leaf(f"{folder}/") if len(folder) < 1023 else Leaf(f"{folder}x")


def test_folders_may_lie_in_each_other_as_deep_as_a_key_is_long():
    assert [leaf.name for leaf in walk(Deep(), "", ALWAYS)] == [1023 * "/" + "x"]
