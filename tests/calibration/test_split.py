"""The split: shares, whole groups, time order, and no item with two uses."""

import random
from collections.abc import Sequence
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from andon.calibration.split import Split, calibration_count, disjoint, split, total_for
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.items import Ref


def parts(n: int) -> list[Ref]:
    return [Ref(key=f"good/{i:03}.png") for i in range(n)]


def grouped(sizes: Sequence[int]) -> list[Ref]:
    return [Ref(key=f"lot{lot}/{i}.png", group=f"lot{lot}") for lot, size in enumerate(sizes) for i in range(size)]


def windows(runs: int, each: int, *, window_s: float, hop_s: float) -> list[Ref]:
    return [
        Ref(key=f"run{run}.csv#{i}", group=f"run{run}.csv", time_s=1000.0 * run + window_s + i * hop_s)
        for run in range(runs)
        for i in range(each)
    ]


def everything(found: Split) -> list[str]:
    return [*found.train, *found.validation, *found.calibration]


@given(n=st.integers(60, 400), seed=st.integers(0, 10))
def test_single_parts_are_split_60_10_30(n: int, seed: int) -> None:
    found = split(parts(n), seed=seed)

    assert len(found.calibration) == pytest.approx(0.3 * n, abs=1)
    assert len(found.validation) == pytest.approx(0.1 * n, abs=1)
    assert sorted(everything(found)) == sorted(ref.key for ref in parts(n))


@pytest.mark.parametrize("n", [16, 20, 30, 46])
def test_few_parts_still_leave_14_to_calibrate_on(n: int) -> None:
    found = split(parts(n), seed=0)

    assert len(found.calibration) == 14
    assert found.train
    assert found.validation


@given(sizes=st.lists(st.integers(1, 60), min_size=3, max_size=40), seed=st.integers(0, 10))
def test_groups_stay_whole_and_every_part_has_one_use(sizes: list[int], seed: int) -> None:
    refs = grouped(sizes)
    try:
        found = split(refs, seed=seed)
    except DataError:
        assume(False)
        raise
    use = {key: name for name in ("train", "validation", "calibration") for key in getattr(found, name)}

    assert sorted(everything(found)) == sorted(ref.key for ref in refs)
    for lot in range(len(sizes)):
        assert len({use[ref.key] for ref in refs if ref.group == f"lot{lot}"}) == 1
    assert len(found.calibration) >= 14


@given(sizes=st.lists(st.integers(1, 5), min_size=40, max_size=60), seed=st.integers(0, 10))
def test_many_small_groups_come_close_to_30_percent_of_parts(sizes: list[int], seed: int) -> None:
    refs = grouped(sizes)

    assert len(split(refs, seed=seed).calibration) == pytest.approx(max(14, 0.3 * len(refs)), abs=5)


@pytest.mark.parametrize("seed", range(10))
def test_one_giant_lot_trains_and_does_not_swallow_the_rest(seed: int) -> None:
    found = split(grouped([1000, 20, 20, 20]), seed=seed)

    assert len(found.train) >= 1000


@pytest.mark.parametrize("seed", range(10))
def test_three_lots_give_one_to_each_use(seed: int) -> None:
    found = split(grouped([100, 100, 100]), seed=seed)

    assert [len(keys) for keys in (found.train, found.validation, found.calibration)] == [100, 100, 100]


def test_frames_of_one_part_stay_together_and_count_once() -> None:
    refs = [Ref(key=f"p{part}-{frame}.png", part=f"p{part}") for part in range(50) for frame in range(4)]
    found = split(refs, seed=0)
    calibration_parts = {key.split("-")[0] for key in found.calibration}

    assert len(calibration_parts) == 15
    assert len(found.calibration) == 60
    assert calibration_parts.isdisjoint(key.split("-")[0] for key in found.train + found.validation)


@given(seed=st.integers(0, 5), shuffle=st.integers(0, 10**6), window=st.booleans())
def test_the_order_of_references_does_not_matter(seed: int, shuffle: int, window: bool) -> None:
    refs = windows(3, 60, window_s=2.0, hop_s=2.0) if window else parts(80)
    shuffled = refs.copy()
    random.Random(shuffle).shuffle(shuffled)
    window_s = 2.0 if window else None

    assert split(shuffled, seed=seed, window_s=window_s) == split(refs, seed=seed, window_s=window_s)


def test_another_seed_gives_another_split() -> None:
    assert split(parts(100), seed=0) != split(parts(100), seed=1)


def test_the_split_of_a_seed_does_not_change_between_versions() -> None:
    assert split(parts(100), seed=7).validation[:3] == ("good/002.png", "good/009.png", "good/019.png")


@given(n=st.integers(16, 200), seed=st.integers(0, 5))
def test_the_calibration_part_does_not_depend_on_whether_validation_is_wanted(n: int, seed: int) -> None:
    with_validation = split(parts(n), seed=seed)
    without = split(parts(n), seed=seed, validation=False)

    assert without.calibration == with_validation.calibration
    assert without.validation == ()
    assert without.train == tuple(sorted(with_validation.train + with_validation.validation))


def test_two_lots_are_enough_without_a_validation_part() -> None:
    found = split(grouped([40, 40]), seed=0, validation=False)

    assert [len(found.train), len(found.calibration)] == [40, 40]


@pytest.mark.parametrize(
    ("refs", "message"),
    [
        (parts(15), "expected at least 16 good parts [^g]*for training.*, got 15\\. Collect more\\.$"),
        (parts(1), "expected at least 16 good parts [^g]*for training.*, got 1\\. Collect more\\.$"),
        ([], "got 0\\. Collect more"),
        (grouped([40]), "got 40 parts in 1 group\\. Collect more parts, or use smaller groups"),
        (grouped([100, 100]), "at least 3 groups .* got 200 parts in 2 groups"),
        (grouped([13, 5, 5]), "got 23 parts in 3 groups of 5 to 13 parts"),
        (parts(20) + parts(1), "each key once, got 'good/000.png'"),
        (
            [*parts(20), Ref(key="a", part="p", group="g"), Ref(key="b", part="p", group="h")],
            "part 'p': expected it in one group, got it in 'g' and 'h'",
        ),
    ],
)
def test_what_cannot_be_split_is_refused_with_figures(refs: list[Ref], message: str) -> None:
    with pytest.raises(DataError, match=message):
        split(refs, seed=0)


@given(
    runs=st.integers(1, 6),
    each=st.integers(160, 300),
    hop=st.integers(1, 4),
    validation=st.booleans(),
)
def test_no_row_of_a_log_serves_two_uses_and_a_window_lies_between(
    runs: int, each: int, hop: int, validation: bool
) -> None:
    window_s = 2.0
    refs = windows(runs, each, window_s=window_s, hop_s=window_s * hop / 4)
    found = split(refs, seed=0, window_s=window_s, validation=validation)
    end = {ref.key: ref.time_s or 0.0 for ref in refs}
    group = {ref.key: ref.group for ref in refs}

    assert len(set(everything(found))) == len(everything(found))
    for earlier, later in (
        (found.train, found.validation),
        (found.validation, found.calibration),
        (found.train, found.calibration),
    ):
        for run in set(group.values()):
            last = max((end[key] for key in earlier if group[key] == run), default=-1e9)
            first = min((end[key] for key in later if group[key] == run), default=1e9)
            assert first - window_s - last >= window_s * 0.999


def test_windows_of_a_long_run_are_split_60_10_30_in_order_of_time() -> None:
    refs = windows(1, 1000, window_s=1.0, hop_s=1.0)
    found = split(refs, seed=0, window_s=1.0)

    # The windows that end at the two borders are left out: theirs is the gap.
    assert [len(keys) for keys in (found.train, found.validation, found.calibration)] == [600, 99, 299]
    assert everything(found) == sorted(everything(found), key=lambda key: int(key.split("#")[1]))


def test_only_windows_at_the_two_borders_are_left_out() -> None:
    refs = windows(1, 1000, window_s=1.0, hop_s=0.25)

    assert 1000 - len(everything(split(refs, seed=0, window_s=1.0))) == 2 * 7  # |end - border| < 1 s, hops of 0.25 s


def test_a_detector_without_validation_trains_up_to_the_calibration_block() -> None:
    refs = windows(2, 300, window_s=1.0, hop_s=0.5)
    with_validation = split(refs, seed=0, window_s=1.0)
    without = split(refs, seed=0, window_s=1.0, validation=False)

    assert without.calibration == with_validation.calibration
    assert set(without.train) > set(with_validation.train) | set(with_validation.validation)


def test_a_short_log_gives_a_larger_share_to_calibration_rather_than_none() -> None:
    found = split(windows(1, 40, window_s=1.0, hop_s=1.0), seed=0, window_s=1.0)

    assert len(found.calibration) >= 14
    assert len(found.train) > len(found.calibration) * 0.9


def test_overlapping_windows_do_not_count_towards_the_14() -> None:
    with pytest.raises(DataError, match="14 windows for calibration that share no row"):
        split(windows(1, 140, window_s=10.0, hop_s=1.0), seed=0, window_s=10.0)


def test_windows_of_20_runs_are_split_by_run() -> None:
    refs = windows(20, 10, window_s=1.0, hop_s=1.0)
    found = split(refs, seed=0, window_s=1.0)

    assert sorted(everything(found)) == sorted(ref.key for ref in refs)
    assert len({key.split("#")[0] for key in found.calibration}) == 6


@pytest.mark.parametrize("time_s", [None, float("nan")])
def test_windows_without_a_time_are_refused(time_s: float | None) -> None:
    with pytest.raises(DataError, match="w: expected the time at which the window ends"):
        split([Ref(key="w", time_s=time_s)], seed=0, window_s=1.0)


@pytest.mark.parametrize("window_s", [0.0, -1.0, float("nan")])
def test_a_window_of_no_length_is_refused(window_s: float) -> None:
    with pytest.raises(DataError, match="window length above 0 s"):
        split(windows(1, 100, window_s=1.0, hop_s=1.0), seed=0, window_s=window_s)


@given(n=st.integers(100, 400), share=st.floats(0.01, 0.8), seed=st.integers(0, 5), validation=st.booleans())
def test_as_many_parts_are_held_back_as_is_asked_for_and_14_at_least(
    n: int, share: float, seed: int, validation: bool
) -> None:
    found = split(parts(n), seed=seed, calibration_share=share, validation=validation)

    assert len(found.calibration) == pytest.approx(max(14, share * n), abs=1)
    assert len(found.validation) == pytest.approx(0.1 * n if validation else 0, abs=1)
    assert sorted(everything(found)) == sorted(ref.key for ref in parts(n))


@given(n=st.integers(100, 300), low=st.floats(0.01, 0.8), high=st.floats(0.01, 0.8))
def test_a_larger_share_holds_back_what_a_smaller_one_does_and_more(n: int, low: float, high: float) -> None:
    fewer, more = (split(parts(n), seed=0, calibration_share=share) for share in sorted((low, high)))

    assert set(fewer.calibration) <= set(more.calibration)


@pytest.mark.parametrize(("share", "counts"), [(0.1, [800, 99, 99]), (0.5, [400, 99, 499]), (0.8, [100, 99, 799])])
def test_windows_of_a_long_run_are_split_by_the_share_too(share: float, counts: list[int]) -> None:
    found = split(windows(1, 1000, window_s=1.0, hop_s=1.0), seed=0, window_s=1.0, calibration_share=share)

    assert [len(keys) for keys in (found.train, found.validation, found.calibration)] == counts


@pytest.mark.parametrize("share", [0.0, -0.1, 0.81, 1.0, 14.0, float("nan")])
def test_a_share_that_leaves_nothing_for_one_use_is_refused(share: float) -> None:
    with pytest.raises(ConfigError, match=r"--calibration-share: expected a share .* above 0 and at most 0.8"):
        split(parts(100), seed=0, calibration_share=share)


@given(hop=st.integers(1, 9), each=st.integers(1, 60), runs=st.integers(1, 3))
def test_disjoint_windows_share_no_row_and_leave_no_room_for_one_more(hop: int, each: int, runs: int) -> None:
    refs = windows(runs, each, window_s=0.7, hop_s=0.1 * hop)
    kept = disjoint(refs, 0.7)
    left_out = [ref for ref in refs if ref not in kept]

    for one, other in pairwise(kept):
        assert one.group != other.group or (other.time_s or 0) - (one.time_s or 0) >= 0.7 * 0.999
    for ref in left_out:
        assert any(k.group == ref.group and abs((k.time_s or 0) - (ref.time_s or 0)) < 0.7 for k in kept)


@given(n=st.integers(16, 600), percent=st.integers(1, 80), validation=st.booleans())
def test_the_count_that_is_foretold_is_what_a_split_keeps_back(n: int, percent: int, validation: bool) -> None:
    refs = [Ref(key=f"{number}.png") for number in range(n)]

    found = split(refs, seed=0, validation=validation, calibration_share=percent / 100)

    assert len(found.calibration) == calibration_count(n, percent / 100)


@given(need=st.integers(1, 3000), percent=st.integers(1, 80))
def test_no_fewer_parts_would_keep_back_as_many(need: int, percent: int) -> None:
    total = total_for(need, percent / 100)

    assert calibration_count(total, percent / 100) >= need
    assert calibration_count(total - 1, percent / 100) < need or total == 16


def test_twenty_windows_that_share_no_row_are_enough_for_a_detector_without_validation() -> None:
    found = split(windows(1, 20, window_s=1.0, hop_s=1.0), seed=0, validation=False, window_s=1.0)

    assert (len(found.train), len(found.calibration)) == (5, 14)
