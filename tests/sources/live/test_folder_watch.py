"""The rule that decides which files of a watched folder are complete and may be read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from andon.sources.live.folder_watch import WRITING_S, FolderWatch
from andon.sources.pictures.folder import Stamp, same_version

Listing = dict[str, Stamp]

stamps = st.builds(Stamp, *[st.integers(0, 1)] * 4)
listings = st.dictionaries(st.sampled_from("abcd"), stamps)
polls = st.lists(st.tuples(st.sampled_from([0.0, 0.2, 0.5, 1.0]), listings), max_size=30)

SETTLE_S = 0.5


def given_by(history: list[tuple[float, Listing]]) -> list[tuple[int, str]]:
    """Return the files that the watch names, each as the number of the poll and the name."""
    watch, now_s, out = FolderWatch(SETTLE_S), 0.0, []
    for number, (later_s, listing) in enumerate(history):
        now_s += later_s
        out += [(number, name) for name in watch.step(listing, now_s)]
    return out


def reference(history: list[tuple[float, Listing]]) -> list[tuple[int, str]]:
    """Look back from each poll: a file is due when its stamps have first been equal for the settling time."""
    out = []
    times = [sum(later for later, _ in history[: n + 1]) for n in range(len(history))]
    for n, (_, listing) in enumerate(history):
        for name in sorted(listing):
            first = n
            while first > 0 and name in history[first - 1][1]:
                if not same_version(history[first - 1][1][name], history[first][1][name]):
                    break
                first -= 1
            settled = [m for m in range(first, n + 1) if times[m] - times[first] >= SETTLE_S]
            if settled and settled[0] == n:
                out.append((n, name))
    return out


# Complaint 15: watchers of folders fire on half-written files.
@given(polls)
def test_the_watch_agrees_with_a_slow_reference(history: list[tuple[float, Listing]]) -> None:
    assert given_by(history) == reference(history)


@given(polls)
def test_only_files_that_are_there_are_given_and_remembered(history: list[tuple[float, Listing]]) -> None:
    watch, now_s = FolderWatch(SETTLE_S), 0.0
    for later_s, listing in history:
        now_s += later_s
        assert set(watch.step(listing, now_s)) <= set(listing)
        assert len(watch) == len(listing)


def test_a_file_that_is_written_to_is_not_given_until_it_rests() -> None:
    growing = [(0.4, {"a": Stamp(size, size)}) for size in range(5)]
    resting = [(0.4, {"a": Stamp(4, 4)})] * 3

    assert given_by(growing + resting) == [(6, "a")]


def test_a_file_that_is_rewritten_later_is_given_again() -> None:
    once, twice = {"a": Stamp(1, 1)}, {"a": Stamp(1, 2)}

    assert given_by([(1.0, once), (1.0, once), (1.0, twice), (1.0, twice), (1.0, twice)]) == [(1, "a"), (3, "a")]


def test_files_that_settle_together_come_in_natural_order() -> None:
    listing = {name: Stamp(1, 1) for name in ("10.png", "9.png", "1.png")}

    assert [name for _, name in given_by([(0.0, listing), (1.0, listing)])] == ["1.png", "9.png", "10.png"]


def test_a_file_that_could_not_be_read_is_given_once_more_after_settling_and_never_a_third_time() -> None:
    watch, listing = FolderWatch(SETTLE_S), {"a": Stamp(1, 1)}
    watch.step(listing, 0.0)
    assert watch.step(listing, 1.0) == ["a"]

    assert watch.again("a", 1.0)
    assert watch.step(listing, 1.2) == []
    assert watch.step(listing, 1.6) == ["a"]
    assert not watch.again("a", 1.6)
    assert watch.step(listing, 9.0) == []


def test_a_retry_is_granted_anew_after_a_change() -> None:
    watch = FolderWatch(SETTLE_S)
    for stamp, start_s in ((Stamp(1, 1), 0.0), (Stamp(2, 2), 10.0)):
        watch.step({"a": stamp}, start_s)
        assert watch.step({"a": stamp}, start_s + 1) == ["a"]
        assert watch.again("a", start_s + 1)
        assert watch.step({"a": stamp}, start_s + 2) == ["a"]
        assert not watch.again("a", start_s + 2)


def test_a_file_replaced_by_one_of_equal_size_and_time_is_new() -> None:
    one, other = Stamp(1, 1, inode=7, ctime_ns=10), Stamp(1, 1, inode=8, ctime_ns=20)

    assert given_by([(1.0, {"a": one}), (1.0, {"a": one}), (1.0, {"a": other}), (1.0, {"a": other})]) == [
        (1, "a"),
        (3, "a"),
    ]


@pytest.mark.parametrize(
    "touched",
    [
        pytest.param(Stamp(1, 1, inode=7, ctime_ns=20), id="other rights"),
        pytest.param(Stamp(1, 1, inode=8, ctime_ns=10), id="a share that numbers its files anew"),
    ],
)
def test_a_file_whose_content_is_the_same_does_not_come_again(touched: Stamp) -> None:
    one = {"a": Stamp(1, 1, inode=7, ctime_ns=10)}

    assert given_by([(1.0, one), (1.0, one), (1.0, {"a": touched}), (1.0, {"a": touched})]) == [(1, "a")]


def test_a_file_that_goes_away_before_it_settled_is_named_once() -> None:
    watch = FolderWatch(SETTLE_S)
    watch.step({"a": Stamp(1, 1, 5), "b": Stamp(1, 1, 6)}, 0.0)
    assert watch.gone == []

    reused = Stamp(1, 2, 5)  # the next file gets the inode number of the deleted one
    watch.step({"b": Stamp(1, 1, 6), "c": reused}, 0.4)
    assert watch.gone == ["a"]
    watch.step({}, 1.0)
    assert watch.gone == ["b", "c"]
    watch.step({}, 2.0)
    assert watch.gone == []


def test_a_file_that_was_given_may_go_away_in_silence_unless_it_was_missed() -> None:
    for missed in (False, True):
        watch = FolderWatch(SETTLE_S)
        watch.step({"a": Stamp(1, 1, 5)}, 0.0)
        assert watch.step({"a": Stamp(1, 1, 5)}, 1.0) == ["a"]
        if missed:
            watch.missed("a")
        watch.step({}, 2.0)

        assert watch.gone == (["a"] if missed else [])


def test_a_file_that_gets_its_final_name_is_not_gone() -> None:
    watch = FolderWatch(SETTLE_S)
    watch.step({"writing.png": Stamp(1, 1, 5)}, 0.0)
    watch.step({"part.png": Stamp(1, 1, 5)}, 0.3)

    assert watch.gone == []


def test_files_below_a_folder_that_cannot_be_listed_are_remembered() -> None:
    watch, all_files = FolderWatch(SETTLE_S), {"a": Stamp(1, 1, 5), "in/b": Stamp(1, 1, 6), "inner": Stamp(1, 1, 7)}
    watch.step(all_files, 0.0)
    assert watch.step(all_files, 1.0) == ["a", "in/b", "inner"]
    assert watch.step({"a": Stamp(1, 1, 5)}, 2.0, unlisted=["in"]) == []

    assert watch.step(all_files, 3.0) == []
    assert watch.step(all_files, 4.0) == ["inner"]


def test_a_file_that_is_replaced_faster_than_it_settles_is_restless_once_a_period() -> None:
    watch, reported = FolderWatch(SETTLE_S), []
    for tick in range(41):
        watch.step({"latest": Stamp(5, tick, inode=tick + 1)}, tick * 0.25)
        reported += [(tick * 0.25, name) for name in watch.restless(tick * 0.25, 2.0)]

    assert reported == [(2.0, "latest"), (4.0, "latest"), (6.0, "latest"), (8.0, "latest"), (10.0, "latest")]


def test_a_file_that_is_written_again_from_its_beginning_is_restless_too() -> None:
    watch, reported = FolderWatch(SETTLE_S), []
    for tick in range(12):
        watch.step({"latest": Stamp(5 - tick % 2, tick, inode=1)}, tick * 0.25)
        reported += watch.restless(tick * 0.25, 2.0)

    assert reported == ["latest"]


def test_a_file_that_grows_has_more_time() -> None:
    watch, reported = FolderWatch(SETTLE_S), []
    for tick in range(60):
        watch.step({"large": Stamp(tick, tick, inode=1)}, tick * 0.25)
        reported += [(tick * 0.25, name) for name in watch.restless(tick * 0.25, 2.0)]

    assert reported == [(WRITING_S, "large")]
