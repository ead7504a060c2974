"""Laws of first-time counts and of the windows they fill, against oracles that share no code with them."""

import tracemalloc
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.model import keymemory, novelty
from detector.model.channels import COUNTERS, DAY, HOUR, PANE, SUB_PANE, WINDOWS, YOUNG_PREFIX, Counter
from detector.model.day import Day
from detector.model.history import History
from detector.model.keymemory import KeyMemory
from detector.model.novelty import Novelty
from detector.model.rows import COPY, ERROR, READ, Rows, Who

T0 = 20_000 * DAY
GROUP = {0: 7, 1: 7, 2: 7, 3: 8}
"""Role → its peer group."""

records_ = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 3 * DAY), st.integers(0, 4 * PANE)),
        st.integers(0, 3),
        st.integers(1, 12),
        st.integers(1, 4),
        st.integers(0, 3),
        st.sampled_from([READ, READ, READ, COPY, ERROR]),
    ),
    max_size=60,
)


def rows_of(records):
    """(second, role, object, prefix, net, what) as the model gets them; an object always lies in one prefix."""
    role, object_, net, what = ([r[i] for r in records] for i in (1, 2, 4, 5))
    columns = [
        np.array([T0 + r[0] for r in records], np.int64),
        np.array(object_, np.uint64) * np.uint64(0x9E3779B97F4A7C15),
        np.array([one % 4 + 1 for one in object_], np.uint64) * np.uint64(0xD1B54A32D192ED03),
        np.array(net, np.uint64) * np.uint64(0xABCDEF0123456789),
        np.array([r[3] if r[5] == COPY else 10 for r in records], np.uint64),
        np.array(what, np.int64),
    ]
    return Rows(np.array(role, np.intp), *columns)


WHO = Who(
    np.arange(1, 5, dtype=np.uint64) << np.uint64(40), np.arange(4), np.array([GROUP[r] for r in range(4)], np.uint64)
)


def counted(records, memory, span=PANE):
    """Counter → role → sub-pane since T0 → count; panes are sealed one by one, or those of so many seconds together."""
    out = defaultdict(lambda: defaultdict(int))
    records = sorted(records, key=lambda r: (r[0], r[4], r[1:]))
    day = 0
    for part in sorted({r[0] // span for r in records}):
        if part * span // DAY != day:
            memory.midnight(Day((T0 + day * DAY) // DAY, 0, [], memory.over(), memory.keys.wanted()))
            day = part * span // DAY
        rows = rows_of([r for r in records if r[0] // span == part])
        for counter, some in memory.seal(rows, WHO, T0 + part * span).rows.items():
            for role, second, weight in zip(rows.role[some], rows.second[some], rows.amount[some], strict=True):
                cell = int(role), int(second - T0) // SUB_PANE * SUB_PANE
                out[counter][cell] += int(weight) if counter is Counter.bytes else 1
    return {counter: dict(cells) for counter, cells in out.items() if cells}


def oracle(records):  # noqa: C901, PLR0912  one branch a sentence
    """The same from the sentences in `Counter`, record by record, in order of time."""
    out = defaultdict(lambda: defaultdict(int))
    keys, touched, readers, nets, group_nets, all_nets, to, all_to = (defaultdict(dict) for _ in range(8))
    active, paned = set(), set()
    for second, role, object_, dest, net, what in sorted(records, key=lambda r: (r[0], r[4], r[1:])):
        at, pane, midnight, prefix = (
            (role, second // SUB_PANE * SUB_PANE),
            second // PANE,
            second // DAY * DAY,
            object_ % 4,
        )

        def count(counter, at=at):
            out[counter][at] += 1

        if net:
            if (role, net, pane) not in paned:
                paned.add((role, net, pane))
                count(Counter.nets)
            if net not in nets[role]:
                count(Counter.new_nets)
            if net not in group_nets[GROUP[role]]:
                count(Counter.group_nets)
            nets[role][net] = group_nets[GROUP[role]][net] = True
            all_nets[0].setdefault(net, second)
        if what == ERROR:
            count(Counter.errors)
            continue
        count(Counter.reads)
        if (role, pane) not in active:
            active.add((role, pane))
            count(Counter.active)
        if what == READ:
            out[Counter.bytes][at] += 10
        if what == COPY:
            if second - to[role].setdefault(dest, second) < DAY:
                count(Counter.new_copies)
            if all_to[0].setdefault(dest, second) >= midnight:
                count(Counter.strange_copies)
        if prefix not in touched[role]:
            touched[role][prefix] = second
            count(Counter.prefixes)
            readers[prefix][role] = second
        if object_ not in keys[role]:
            keys[role][object_] = True
            count(Counter.new)
            if net and all_nets[0][net] >= midnight:
                count(Counter.strange)
            if second - touched[role][prefix] < YOUNG_PREFIX:
                count(Counter.young)
    return {counter: dict(cells) for counter, cells in out.items() if cells}


PLAIN = set(Counter) - {Counter.rare, Counter.foreign}


@given(records_)
def test_first_times_are_what_the_sentences_say(records):
    """Every counter against a record-by-record oracle; records of one second are taken in the model's order."""
    seen, wanted = counted(records, Novelty("n", 1 << 20)), oracle(records)
    for counter in PLAIN:
        assert seen.get(counter, {}) == wanted.get(counter, {}), counter


def read(second, role, object_):
    return (second, role, object_, 1, 1, READ)


def total(found, counter):
    return sum(found.get(counter, {}).values())


def test_rare_is_what_two_peers_at_most_read():
    """The third role of a group that reads in a prefix finds nothing rare; a role of another group does."""
    records = [read(10, 0, 4), read(20, 1, 8), read(30, 2, 12), read(40, 3, 16), read(50, 0, 20)]
    found = counted(records, Novelty("n", 1 << 20))
    assert found[Counter.rare] == {(0, 10): 1, (1, 20): 1, (3, 40): 1}


def test_foreign_is_what_one_or_two_others_had_read_by_midnight():
    """Somebody else's place of yesterday; one's own is not, nor one that nobody had read."""
    records = [read(10, 0, 4), read(DAY + 10, 0, 8), read(DAY + 20, 1, 12), read(DAY + 30, 1, 13)]
    found = counted(records, Novelty("n", 1 << 20))
    assert found[Counter.foreign] == {(1, DAY + 20): 1}


def many(role, first, count):
    second = np.arange(count, dtype=np.int64) % PANE
    object_ = (np.arange(count, dtype=np.uint64) + np.uint64(first + 1)) * np.uint64(0x9E3779B97F4A7C15)
    order = np.argsort(second, kind="stable")
    same = np.ones(count, np.uint64)
    rows = Rows(np.full(count, role, np.intp), second, object_, same, same, same, np.full(count, READ, np.int64))
    return Rows(*(column[order] for column in rows))


def at_pane(pane, rows):
    return rows._replace(second=rows.second + pane * PANE)


def news(counted):
    return len(counted.rows[Counter.new])


def test_past_the_exact_keys_a_filter_misses_few_and_invents_none(monkeypatch):
    """All keys of a large role are known afterwards; of fresh ones nearly all are news; then only new prefixes are."""
    monkeypatch.setattr(keymemory, "LAYERS", 3)
    memory, fresh = Novelty("n", 1 << 20), []
    for pane in range(6):
        rows = at_pane(pane, many(0, pane * 5000, 5000))
        fresh.append(news(memory.seal(rows, WHO, pane * PANE)))
        assert news(memory.count(rows, WHO, pane * PANE)) == 0
    assert min(fresh) > 4600
    assert memory.keys.nbytes <= 3 * 8 * (1 << 13)


def test_a_role_whose_memory_is_full_counts_new_prefixes_only(monkeypatch):
    """With no room left a key is new where its prefix is, and nowhere else: it may be missed, never invented."""
    monkeypatch.setattr(keymemory, "LAYERS", 1)
    memory = Novelty("n", 1 << 20)
    for pane in range(4):
        memory.seal(at_pane(pane, many(0, pane * 5000, 5000)), WHO, pane * PANE)
    assert memory.keys.saturated(np.array([0])).all()
    assert news(memory.count(many(0, 90_000, 500), WHO, 0)) == 0
    elsewhere = many(0, 90_000, 500)._replace(prefix=np.full(500, 99, np.uint64))
    assert news(memory.count(elsewhere, WHO, 0)) > 450


def state(memory, roles=4):
    """All that it remembers."""
    parts = (memory.keys.exact.all(), memory.first.all(), memory.readers.all(), memory.today.whole())
    kept = {name: part for name, part in memory.keys.changes().items() if part is not None and "bloom" in name}
    return [[column.tolist() for column in part] for part in parts], kept, [memory.prefixes(s) for s in range(roles)]


@given(records_, st.integers(0, 3))
def test_panes_of_an_hour_sealed_together_are_what_they_are_one_by_one(records, tight):
    """Counts and all that is remembered, also where filters lie and fill, and keys and prefixes have no more room."""
    with pytest.MonkeyPatch.context() as patch:
        if tight:
            patch.setattr(keymemory, "EXACT", tight - 1)
            patch.setattr(keymemory, "FIRST_LAYER", 1)
            patch.setattr(keymemory, "LAYERS", tight)
            patch.setattr(novelty, "MOST_PREFIXES", tight)
        together, apart = Novelty("n", 1 << 20), Novelty("n", 1 << 20)
        assert counted(records, together, HOUR) == counted(records, apart)
        assert state(together) == state(apart)


def meet(memory, pairs, slots):
    """Pairs of one pane, of new places or not."""
    return memory.meet(pairs, slots, np.zeros(len(slots), np.bool_), np.zeros(len(slots), np.int64))


def test_at_midnight_filters_fit_into_the_memory_and_all_roles_lose_alike(monkeypatch):
    """Whoever has more than all can have lets go of it and is full; one that is small keeps what it has."""
    monkeypatch.setattr(keymemory, "EXACT", 10)
    monkeypatch.setattr(keymemory, "FIRST_LAYER", 16)
    draw, room = np.random.default_rng(1), 8 * 16 * (7 * 5 + 1)  # three filters for each of five, one for a sixth
    memory = KeyMemory("m", room)
    for slot, many in enumerate([3000, 3000, 3000, 3000, 3000, 60]):
        meet(memory, draw.integers(1, 1 << 63, many).astype(np.uint64), np.full(many, slot))
    assert memory.nbytes > room
    memory.allow(memory.wanted())
    assert memory.most == 3
    assert memory.nbytes <= room
    assert memory.saturated(np.arange(6)).tolist() == [True] * 5 + [False]
    held = {name for name, part in memory.changes().items() if part is not None and "bloom" in name}
    assert len(held) == 5 * 3 + 1
    memory.forget({0, 1, 2})
    memory.allow(memory.wanted())
    assert memory.most > 3


def test_what_was_forgotten_is_new_again():
    """A role that was let go leaves nothing behind."""
    memory = Novelty("n", 1 << 20)
    memory.seal(many(0, 0, 5000), WHO, 0)
    memory.seal(many(1, 0, 50), WHO, 0)
    memory.forget({0})
    assert news(memory.count(many(0, 0, 5000), WHO, 0)) == 5000
    assert news(memory.count(many(1, 0, 50), WHO, 0)) == 0


@given(records_, records_)
def test_a_restored_memory_counts_the_same(before, after):
    """Parts of a checkpoint, laid over one another, are all there is."""
    memory, parts = Novelty("n", 1 << 20), {}
    for some in (before[:20], before[20:]):
        counted(some, memory)
        parts = {name: part for name, part in (parts | memory.changes()).items() if part is not None}
    assert set(parts) == memory.names()
    again = Novelty("n", 1 << 20)
    again.restore(parts, [(slot, memory.prefixes(slot)) for slot in range(4)])
    assert counted(after, again) == counted(after, memory)


panes_ = st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=40)


@given(panes_, st.integers(0, 39), st.booleans())
def test_windows_hold_what_their_panes_counted(panes, clear_at, restart):
    """Sums of 1, 24 and 72 hours, whole panes, against adding up; cleared, and restored, on the way."""
    history, log, since = History("h"), [], defaultdict(int)
    for number, (pane, slot, count) in enumerate(sorted(set(panes))):
        if history._now >= pane + 1:
            continue
        if number == clear_at:
            history.clear(slot)
            since[slot] = history._now + 1
        if restart and number == clear_at + 1:
            parts = history.rows.changes()
            now, starts = history._now, [(s, history.since(s)) for s in range(3)]
            history = History("h")
            history.restore(parts, now, starts)
        later = history.sums_at(np.arange(3), pane + 1) if history._now else None
        history.move_to(pane + 1)
        sums = history.sums(np.arange(3))
        assert later is None or (later == sums).all()
        for which, window in enumerate(WINDOWS):
            for one in range(3):
                wanted = sum(c for p, s, c in log if s == one and pane + 1 - window // PANE < p and p >= since[one])
                assert sums[one, which, Counter.new] == wanted
        totals = np.zeros((1, COUNTERS), np.int64)
        totals[0, Counter.new] = count
        history.add(np.array([slot]), totals)
        history.write(np.array([pane + 1]), np.array([slot]), totals)
        log.append((pane + 1, slot, count))


@pytest.mark.parametrize("counter", list(Counter))
def test_every_counter_is_said_in_words(counter):
    """A finding can say what was seen, whatever it was."""
    from detector.model.judgement import _SAID

    assert "{}" in _SAID[counter.name]


def test_a_thousand_roles_remember_within_a_hundred_megabytes():
    """A quarter of them here, each with 8,000 new objects; what the checkpoint holds of them is counted, too."""
    roles, panes, many = 250, 40, 200
    memory, rng = KeyMemory("m", 64 << 20), np.random.default_rng(1)
    tracemalloc.start()
    for _ in range(panes):
        slots = np.repeat(np.arange(roles), many)
        meet(memory, rng.integers(0, 1 << 63, len(slots)).astype(np.uint64), slots)
        memory.changes()
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 15 << 20
    assert peak < 25 << 20


def test_what_a_person_accepts_is_no_news():
    """Places and networks said to be a role's business: known to it, and the networks to everybody."""
    rows, memory = rows_of([read(10, 0, 4), read(20, 3, 5)]), Novelty("n", 1 << 20)
    memory.accept(int(WHO.role[0]), rows.prefix, rows.net)
    found = memory.count(rows, WHO, T0).rows
    assert [rows.role[found[one]].tolist() for one in (Counter.prefixes, Counter.new_nets)] == [[3], [3]]
    assert not len(found[Counter.strange])
