"""Laws of the state in S3 beyond the contract: fencing, lost replies, damage, garbage, and what a save costs."""

import contextlib
import os
import random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.aws import session, state
from detector.aws.manifest import KIND, Manifest, Place, decode, encode
from detector.aws.nearby import Nearby
from detector.aws.state import S3State
from detector.errors import InputError, LeaseLostError, StateError
from tests.faults import FaultyServer


@pytest.fixture(scope="module")
def proxy(moto_server):
    with FaultyServer(moto_server) as faults:
        yield faults


@pytest.fixture
def faults(proxy):
    proxy.faults.clear()
    proxy.passed.clear()
    return proxy


@pytest.fixture(scope="module")
def clients():
    """Making a client takes longer than what most of these tests do with it."""
    return {}


class Bucket:
    """One test's bucket, seen from outside, and the stores opened on it."""

    def __init__(self, aws, clients) -> None:
        self.s3 = clients.get("outside") or clients.setdefault("outside", aws.client("s3"))
        self.name, self.stores = aws.bucket(), []

    def store(self, **arguments) -> S3State:
        self.stores.append(S3State(self.name, "p", sleep=lambda _: None, **arguments))
        return self.stores[-1]

    def loaded(self):
        """What a daemon that starts now finds."""
        return dict(self.store().load())

    def settled(self):
        """The objects there are, once nothing is under way."""
        for store in self.stores:
            store._parcels._pool.shutdown(wait=True)
            store.close()
        self.stores.clear()
        return [found["Key"] for found in self.s3.list_objects_v2(Bucket=self.name).get("Contents", [])]

    def read(self, key):
        return self.s3.get_object(Bucket=self.name, Key=key)["Body"].read()

    def put(self, key, body) -> None:
        self.s3.put_object(Bucket=self.name, Key=key, Body=body)

    def manifest(self) -> Manifest:
        return decode(self.read("p/manifest"), "here")


@pytest.fixture
def bucket(aws, faults, clients, monkeypatch):
    made = Bucket(aws, clients)
    monkeypatch.setenv("AWS_ENDPOINT_URL", faults.url)
    monkeypatch.setattr(state, "client", lambda service, **how: _client(clients, service, how))
    yield made
    faults.faults.clear()
    made.settled()


def _client(clients, service, how):
    if service not in clients:
        clients[service] = session.client(service, **how)
    return clients[service]


# --- fencing


def test_a_paused_loser_overwrites_nothing(bucket):
    """Whatever it still does: its save is refused, says so, and what the winner saved stays, byte for byte."""
    loser = bucket.store()
    loser.save({"a": b"old", "b": b"old"})
    winner = bucket.store()
    assert dict(winner.load()) == {"a": b"old", "b": b"old"}
    winner.save({"a": b"new"})
    with pytest.raises(LeaseLostError, match="epoch 2"):
        loser.save({"a": b"lost", "c": b"lost"})
    with pytest.raises(StateError, match="opened anew"):
        loser.save({"c": b"again"})
    assert bucket.loaded() == {"a": b"new", "b": b"old"}


def test_a_write_still_on_its_way_when_the_state_is_claimed_comes_too_late(bucket, faults):
    """The loser's manifest arrives after the winner's claim: refused, for the claim itself is a write."""
    loser = bucket.store()
    loser.save({"a": b"1"})
    winner = bucket.store()
    faults.add("PUT", "manifest", then=winner.load)
    with pytest.raises(LeaseLostError):
        loser.save({"a": b"2"})
    assert dict(winner.load()) == {"a": b"1"}


def test_a_claim_that_is_outrun_takes_what_the_other_saved(bucket, faults):
    """The holder saves between the next one's look and its claim: nothing of it is lost."""
    first = bucket.store()
    first.save({"a": b"1"})
    faults.add("PUT", "manifest", then=lambda: first.save({"a": b"2"}))
    assert bucket.loaded() == {"a": b"2"}


def test_the_epoch_rises_with_every_claim_and_with_the_lease(bucket):
    """Also if the lease was deleted and counts anew."""
    for lease, expected in ((1, 1), (0, 2), (9, 9), (3, 10)):
        bucket.store(epoch=lambda lease=lease: lease).load()
        assert bucket.manifest().epoch == expected


SAVES = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["load", "save", "save", "save"]),
        st.dictionaries(st.sampled_from("abc"), st.none() | st.binary(max_size=3), max_size=3),
    ),
    max_size=12,
)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SAVES)
def test_any_interleaving_of_stores_never_loses_the_newer(bucket, steps):
    """Three daemons load and save in any order: a save of one that was overtaken fails, every other one counts."""
    for key in bucket.settled():
        bucket.s3.delete_object(Bucket=bucket.name, Key=key)
    stores, holder, truth = [bucket.store() for _ in range(3)], None, {}
    for who, what, parts in steps:
        store = stores[who]
        if what == "load" and not store._unusable:
            fresh = store._manifest is None
            found = store.load()
            if fresh:
                holder = who
            if holder == who:
                assert dict(found) == truth
        elif what == "save" and store._manifest is not None:
            if holder == who:
                store.save(parts)
                truth = {n: c for n, c in (truth | parts).items() if c is not None}
            else:
                with pytest.raises(StateError):
                    store.save(parts)
    assert bucket.loaded() == truth


# --- what goes wrong on the way


TROUBLE = [
    {"answer": (500, "InternalError")},
    {"answer": (503, "SlowDown")},
    {"answer": (503, "ServiceUnavailable")},
    {"answer": (400, "RequestTimeout")},
    {"answer": (403, "ExpiredToken")},
    {"before": True},
    {"after": True},
    {"slow": 0.3},
]


@pytest.mark.parametrize("fault", TROUBLE, ids=str)
@pytest.mark.parametrize("path", ["manifest", "parts/"])
def test_what_passes_is_waited_out(bucket, faults, path, fault):
    """Errors, throttling, lost requests and lost replies, at the objects and at the manifest: the save counts once."""
    store = bucket.store()
    store.save({"a": b"1", "kept": b"k"})
    faults.add("PUT", path, times=2, **fault)
    store.save({"a": b"2"})
    store.save({"b": b"3"})
    assert dict(store.load()) == {"a": b"2", "kept": b"k", "b": b"3"} == bucket.loaded()


def test_a_race_at_the_manifest_is_tried_again(bucket, faults):
    """409 ConditionalRequestConflict decides nothing: look, and write again."""
    store = bucket.store()
    faults.add("PUT", "manifest", answer=(409, "ConditionalRequestConflict"))
    store.load()
    faults.add("PUT", "manifest", times=2, answer=(409, "ConditionalRequestConflict"))
    store.save({"a": b"1"})
    assert bucket.loaded() == {"a": b"1"}


@pytest.mark.parametrize("took_effect", [True, False])
def test_a_save_that_cannot_be_decided_is_an_error_and_whole_or_not_at_all(bucket, faults, took_effect):
    """The store goes away in the middle: whoever starts next finds the old checkpoint or the new one."""
    store = bucket.store()
    store.save({"a": b"1", "b": b"1"})
    if took_effect:
        faults.add("PUT", "manifest", after=True)
    faults.add("PUT", "manifest", times=-1, before=True)
    faults.add("GET", "manifest", times=-1, before=True)
    with pytest.raises(StateError) as caught:
        store.save({"a": b"2", "b": None, "c": b"2"})
    assert caught.value.remedy
    with pytest.raises(StateError, match="could not be decided"):
        store.save({"d": b"never"})
    with pytest.raises(StateError, match="could not be decided"):
        store.get("a", 0, 1)
    faults.faults.clear()
    expected = {"a": b"2", "c": b"2"} if took_effect else {"a": b"1", "b": b"1"}
    assert dict(store.load()) == expected
    store.save({"e": b"5"})
    assert bucket.loaded() == expected | {"e": b"5"}


@pytest.mark.parametrize("path", ["manifest", "parts/"])
def test_a_save_that_is_refused_changes_nothing_and_says_what_to_do(bucket, faults, path):
    """No permission: the old checkpoint stays, the store can be used, and what was uploaded does not stay."""
    store = bucket.store()
    store.save({"a": b"1"})
    faults.add("PUT", path, answer=(403, "AccessDenied"))
    with pytest.raises(StateError, match="AccessDenied") as caught:
        store.save({"a": b"2"})
    assert caught.value.where.startswith(f"s3://{bucket.name}/p/")
    assert "allow" in caught.value.remedy
    store.save({"b": b"3"})
    assert bucket.loaded() == {"a": b"1", "b": b"3"}


def test_a_body_that_breaks_off_is_read_again(bucket, faults):
    """Of the manifest, of parts and of ranges."""
    content = os.urandom(300_000)
    bucket.store().save({"a": content})
    for path in ("manifest", "parts/"):
        faults.add("GET", path, times=2, cut=100)
    store = bucket.store()
    assert dict(store.load()) == {"a": content}
    faults.add("GET", "parts/", times=2, cut=100)
    assert store.get("a", 5, 200_005) == content[5:200_005]


def test_a_store_that_stays_away_is_an_error_with_a_remedy(bucket, faults):
    """At loading, saving and reading; never half of anything."""
    store = bucket.store()
    store.save({"a": b"1"})
    faults.add("GET", "", times=-1, before=True)
    faults.add("PUT", "parts/", times=-1, before=True)
    for attempt in (bucket.store().load, lambda: store.get("a", 0, 1), lambda: store.save({"a": b"2"})):
        with pytest.raises(StateError) as caught:
            attempt()
        assert "reached" in caught.value.remedy
    faults.faults.clear()
    assert bucket.loaded() == {"a": b"1"}


def test_a_bucket_that_does_not_exist_is_the_configs_mistake(bucket):
    """Exit status 2, with the key to mend."""
    with pytest.raises(InputError, match="no such bucket") as caught:
        S3State("never-made-by-anybody", "p").load()
    assert "state.bucket" in caught.value.remedy


# --- damage


def damaged(bucket, how):
    (part,) = [key for key in bucket.settled() if "/parts/" in key]
    content, manifest = bucket.read(part), bucket.read("p/manifest")
    line, _, body = manifest.partition(b"\n")
    known = bucket.manifest()
    moved = {name: Place(p.object, 3 - p.offset, p.length, p.sum) for name, p in known.parts.items()}
    swapped = {
        name: Place(p.object, p.offset, 3, known.parts["b" if name == "a" else "a"].sum) for name, p in moved.items()
    }
    cases = {
        "a byte of a part": lambda: bucket.put(part, b"\x00" + content[1:]),
        "a part that is cut short": lambda: bucket.put(part, content[:-1]),
        "an object that is gone": lambda: bucket.s3.delete_object(Bucket=bucket.name, Key=part),
        "parts that changed places": lambda: bucket.put("p/manifest", encode(Manifest(1, 1, "n", moved))),
        "sums that changed places": lambda: bucket.put("p/manifest", encode(Manifest(1, 1, "n", swapped))),
        "a byte of the manifest": lambda: bucket.put("p/manifest", manifest[:-1] + bytes([manifest[-1] ^ 1])),
        "a manifest that is cut short": lambda: bucket.put("p/manifest", manifest[:-5]),
        "an empty manifest": lambda: bucket.put("p/manifest", b""),
        "somebody else's object": lambda: bucket.put("p/manifest", b"hello\n"),
        "another version": lambda: bucket.put("p/manifest", line.replace(b" 1 ", b" 9 ") + b"\n" + body),
    }
    cases[how]()
    return cases


DAMAGE = [
    "a byte of a part",
    "a part that is cut short",
    "an object that is gone",
    "parts that changed places",
    "sums that changed places",
    "a byte of the manifest",
    "a manifest that is cut short",
    "an empty manifest",
    "somebody else's object",
    "another version",
]


@pytest.mark.parametrize("how", DAMAGE)
def test_damage_is_refused_and_says_where_and_what_to_do(bucket, how):
    """Whatever is wrong with the checkpoint: reading it whole is an error, and so is a range of what is damaged."""
    bucket.store().save({"a": b"one", "b": b"two"})
    assert set(damaged(bucket, how)) == set(DAMAGE)
    with pytest.raises(StateError, match="version 9" if how == "another version" else None) as caught:
        bucket.loaded()
    assert caught.value.remedy
    assert caught.value.where.startswith(f"s3://{bucket.name}/p/")
    with pytest.raises(StateError):
        [bucket.store().get(name, 0, 3) for name in "ab"]


def test_a_refused_manifest_is_left_as_it_is(bucket):
    """Somebody else's object is not overwritten by a daemon that cannot read it."""
    bucket.put("p/manifest", b"hello\n")
    for attempt in (lambda: bucket.store().load(), lambda: bucket.store().save({"a": b"1"})):
        with pytest.raises(StateError):
            attempt()
    assert bucket.read("p/manifest") == b"hello\n"


@given(st.binary(max_size=200))
def test_any_bytes_are_a_manifest_or_refused(data):
    """What lies there may be anything, also under a right checksum."""
    from detector.aws import manifest

    for tried in (data, b"%s 1 %s\n" % (KIND, manifest._seal(data)) + data):
        with contextlib.suppress(StateError):
            decode(tried, "here")


# --- what it costs, and what it leaves


def test_a_save_is_two_requests_one_after_the_other(bucket, faults):
    """However many parts changed: one object for the small ones, one for each large one, then the manifest."""
    store = bucket.store()
    store.save({f"old/{n}": b"x" * 100 for n in range(500)})
    faults.passed.clear()
    store.save({f"new/{n}": b"x" * 100 for n in range(50)} | {"large": b"y" * 3_000_000, "consumer": b"z"})
    assert faults.count("PUT", "parts/") == 2
    assert faults.count("PUT", "manifest") == 1
    of_the_claim = faults.count("GET", "list-type")  # it looks for what was left behind, in its own time
    assert faults.count("GET", "") == of_the_claim


def test_many_small_parts_are_loaded_with_few_requests(bucket, faults):
    """What lies together is read together."""
    parts = {f"{n}": os.urandom(1000) for n in range(500)}
    bucket.store().save(parts)
    faults.passed.clear()
    assert bucket.loaded() == parts
    assert faults.count("GET", "parts/") <= 2


def test_what_no_part_lies_in_any_more_is_deleted(bucket):
    """After the manifest moved: only what counts is left, and the manifest."""
    store = bucket.store()
    for n in range(30):
        store.save({"a": b"%d" % n, f"b/{n % 3}": b"x", f"b/{(n + 1) % 3}": None})
    wanted = {f"p/{place.object}" for place in bucket.manifest().parts.values()}
    store.save({})
    assert wanted <= set(bucket.settled())
    bucket.store().load()
    assert set(bucket.settled()) == wanted | {"p/manifest"}


def test_what_a_crash_left_is_deleted_by_the_next_one_and_nothing_else(bucket, faults):
    """Objects of a save that never got its manifest go; those of others, and of later epochs, stay."""
    store = bucket.store()
    store.save({"a": b"1"})
    faults.add("PUT", "manifest", times=-1, before=True)
    faults.add("GET", "manifest", times=-1, before=True)
    with pytest.raises(StateError):
        store.save({"b": b"2"})
    faults.faults.clear()
    for key in ("p/parts/00000099-ab-00000001", "p/parts/readme", "p/other", "q/parts/00000000-ab-00000001"):
        bucket.put(key, b"not yours")
    assert len([key for key in bucket.settled() if key.startswith("p/parts/00000001")]) == 2
    assert bucket.loaded() == {"a": b"1"}
    kept = bucket.settled()
    assert len([key for key in kept if key.startswith("p/parts/00000001")]) == 1
    assert len(kept) == 1 + 4 + 1
    assert bucket.loaded() == {"a": b"1"}


def test_deletions_that_fail_are_no_error(bucket, faults):
    """They cost room until the next time."""
    store = bucket.store()
    store.save({"a": b"1"})
    faults.add("POST", "delete", times=1, answer=(503, "SlowDown"))
    store.save({"a": b"2"})
    store.save({"a": b"3"})
    assert dict(store.load()) == {"a": b"3"}


# --- copies on the local disk


def test_a_range_is_asked_of_s3_once(bucket, faults):
    """Whoever looks for rows again and again reads the local disk; a part that was replaced is another part."""
    content, chance = os.urandom(100_000), random.Random(1)
    store = bucket.store()
    store.save({"other": b"o" * 50, "a": content})
    faults.passed.clear()
    for _ in range(50):
        first = chance.randrange(100_000)
        assert store.get("a", first, first + 5) == content[first : first + 5] or first > 99_995
        if first > 99_995:
            break
    assert faults.count("GET", "parts/") == 1
    store.save({"a": b"another"})
    assert store.get("a", 0, 7) == b"another"


def test_copies_have_a_bound_and_need_no_disk(tmp_path):
    """The one not asked for longest goes; without a folder, or with a damaged file, S3 is asked."""
    asked = []

    def whole(name):
        return lambda: asked.append(name) or name.encode() * 40

    near = Nearby(100, tmp_path)
    for name in ("a", "b", "a", "c", "a", "b"):
        assert near.range((name, 0), 1, 3, whole(name)) == name.encode() * 2
    assert asked == ["a", "b", "c", "b"]
    for file in tmp_path.glob("*/*"):
        file.write_bytes(b"")
    assert near.range(("b", 0), 38, 40, whole("b")) == b"bb"
    assert asked[-2:] == ["b", "b"]
    near.close()
    assert not list(tmp_path.iterdir())
    nowhere = Nearby(100, tmp_path / "missing")
    assert nowhere.range(("d", 0), 0, 1, whole("d")) == b"d"
