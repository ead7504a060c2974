"""Laws of company: who else is behind a session's name, by all that it does, and only about then."""

from hypothesis import given
from hypothesis import strategies as st

from detector.core.principal import print_of
from detector.response import company
from detector.response.company import LATELY, Company
from tests.streams import Event, batch, principal

T0 = 1_777_626_000
THIEF = print_of(principal("thief"))


def met(*events):
    seen = Company()
    seen.meet(batch(events))
    return seen


def test_every_network_of_the_hour_is_named():
    seen = met(Event(T0, address="26.1.1.1"), Event(T0 + 5, address="26.1.1.9"), Event(T0 + 9, address="31.2.2.2"))
    assert seen.of([THIEF], T0 + 10) == {THIEF: ("26.1.1.0/24", "31.2.2.0/24")}
    assert seen.of([THIEF, 5], T0 + LATELY) == {THIEF: ("26.1.1.0/24", "31.2.2.0/24")}
    assert seen.of([THIEF], T0 + LATELY + 9) == {THIEF: ("31.2.2.0/24",)}
    assert seen.of([THIEF], T0 + LATELY + 10) == {}


def test_others_are_others():
    seen = met(Event(T0, "thief", address="26.1.1.1"), Event(T0, "owner", address="31.2.2.2"))
    assert seen.of([THIEF], T0) == {THIEF: ("26.1.1.0/24",)}


def test_memory_is_bounded_and_keeps_the_latest(monkeypatch):
    monkeypatch.setattr(company, "MOST", 10)
    seen = Company()
    for n in range(50):
        seen.meet(batch([Event(T0 + n, f"s{n}", address="26.1.1.1")]))
    assert seen.of([print_of(principal("s49"))], T0 + 49)
    assert not seen.of([print_of(principal("s0"))], T0)
    seen.meet(batch([]))


@given(
    st.lists(st.tuples(st.integers(0, 2 * LATELY), st.integers(0, 3), st.integers(0, 3)), max_size=40),
    st.integers(1, 5),
)
def test_batches_and_order_change_nothing(rows, size):
    events = [Event(T0 + t, f"s{who}", key=str(n), address=f"26.1.{net}.1") for n, (t, who, net) in enumerate(rows)]
    whole, cut = Company(), Company()
    whole.meet(batch(events))
    for at in range(0, len(events), size):
        cut.meet(batch(list(reversed(events))[at : at + size]))
    prints = [print_of(principal(f"s{n}")) for n in range(4)]
    assert whole.of(prints, T0 + LATELY) == cut.of(prints, T0 + LATELY)
