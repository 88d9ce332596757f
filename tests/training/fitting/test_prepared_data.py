"""Prepared data of a fit: split first, standardised by the training set alone, prepared as in the model file."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from andon.export.preprocessing import prepare
from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import FrameSpec, InputSpec, Reason, ScoreRule, WindowSpec
from andon.sources.collection import Collection, Found, FoundFrames
from andon.sources.series.log import Log, Run
from andon.sources.series.windows import window_spec
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_frame, synthetic_log
from andon.training.fitting.prepared_data import PreparedData, PreparedPart, prepare_data
from andon.training.nets.surprise import scores_over
from andon.training.recipe.recipe import Recipe

STEPS, HOP = 8, 4


class NoSettings(msgspec.Struct, frozen=True):
    """A recipe without settings."""


def _input(_settings: NoSettings, found: Found) -> InputSpec:
    if isinstance(found, FoundFrames):
        return FrameSpec(channels=3, size=(16, 16))
    return window_spec(found, STEPS, HOP)


def looking(gives: Literal["frame", "window"], *, uses_validation: bool = True) -> Recipe:
    """Return a recipe that is never fitted; the tests only check the data that it would get."""
    return Recipe(
        name="looking",
        summary="",
        settings=NoSettings,
        tiny=NoSettings(),
        gives=gives,
        input=_input,
        build=lambda _settings, _spec: torch.nn.Identity(),
        fit=lambda _scorer, _good, _settings, _run: None,
        score_rule=lambda _settings, _spec: ScoreRule(score="none"),
        uses_validation=uses_validation,
    )


def opened(
    data: Collection | Log, *, seed: int = 0, cache_bytes: int = 10**9, group: str | None = None
) -> PreparedData:
    recipe = looking("window" if isinstance(data, Log) else "frame")
    return prepare_data(data, recipe, NoSettings(), seed=seed, cache_bytes=cache_bytes, group=group)


class Altered(SyntheticFrames):
    """Frames of which some are replaced, by another frame or by a lost one."""

    def __init__(self, count: int, changed: dict[str, NDArray[np.uint8] | Reason]) -> None:
        super().__init__(count)
        self.changed = changed

    def read(self, ref: Ref) -> Item | Lost:
        changed = self.changed.get(ref.key)
        if isinstance(changed, Reason):
            return Lost(ref, changed, "cut off")
        return super().read(ref) if changed is None else Item(ref, changed)


def rows_of(keys: Sequence[str]) -> set[tuple[str, int]]:
    """Return all rows of a log that these windows contain."""
    ends = [(key.rsplit("#", 1)[0], int(key.rsplit("#", 1)[1])) for key in keys]
    return {(run, row) for run, end in ends for row in range(end - STEPS + 1, end + 1)}


@pytest.mark.parametrize("seed", [0, 1])
def test_no_row_of_a_log_is_on_two_sides(seed: int) -> None:
    used = opened(synthetic_log(1000), seed=seed).split

    train, validation, calibration = (rows_of(keys) for keys in (used.train, used.validation, used.calibration))
    assert train
    assert validation
    assert calibration
    assert not train & validation
    assert not train & calibration
    assert not validation & calibration


def test_calibration_windows_share_no_row_while_training_windows_overlap() -> None:
    used = opened(synthetic_log(1000)).split

    assert len(rows_of(used.calibration)) == STEPS * len(used.calibration)
    assert len(rows_of(used.train)) < STEPS * len(used.train)


def test_channels_are_standardised_by_the_training_part_alone() -> None:
    log = synthetic_log(1000)
    used = opened(log).split
    kept_back = sorted(rows_of(used.validation) | rows_of(used.calibration))
    for run, row in kept_back:
        next(known for known in log.runs if known.name == run).values[row] *= 100

    altered, untouched = opened(log).spec, opened(synthetic_log(1000)).spec

    assert altered == untouched


def test_a_standardised_training_part_has_mean_0_and_deviation_1() -> None:
    good = opened(synthetic_log(1000))
    values = torch.cat(list(good.train.batches(64))).flatten(0, 1)

    assert torch.allclose(values.mean(dim=0), torch.zeros(2), atol=1e-4)
    assert torch.allclose(values.std(dim=0, correction=0), torch.ones(2), atol=1e-4)
    assert isinstance(good.spec, WindowSpec)
    assert good.spec.channels[0].low == pytest.approx(217, abs=3)
    assert good.spec.channels[0].high == pytest.approx(243, abs=3)


def test_a_constant_channel_is_scaled_to_one_percent_of_its_value() -> None:
    log = synthetic_log(1000)
    for run in log.runs:
        run.values[:, 0] = 50.0
        run.values[:, 1] = 0.0
    spec = opened(log).spec

    assert isinstance(spec, WindowSpec)
    assert [channel.scale for channel in spec.channels] == pytest.approx([0.5, 1.0])


def test_a_part_gives_exactly_what_the_file_prepares() -> None:
    frames = SyntheticFrames(40)
    good = opened(frames)
    by_key = {ref.key: ref for ref in frames.refs}
    items = [frames.read(by_key[key]) for key in good.split.train]
    raw = np.stack([item.data for item in items if isinstance(item, Item)])

    expected, _ = prepare(good.spec)(torch.from_numpy(raw))

    assert torch.equal(torch.cat(list(good.train.batches(7))), expected)


def test_a_part_that_does_not_fit_into_memory_gives_the_same_batches() -> None:
    held, decoded = opened(SyntheticFrames(40)), opened(SyntheticFrames(40), cache_bytes=1000)

    assert held.train.cached
    assert not decoded.train.cached
    for size in (4, 7):
        shuffles = (torch.Generator().manual_seed(1), torch.Generator().manual_seed(1))
        pairs = zip(
            held.train.batches(size, shuffle=shuffles[0]), decoded.train.batches(size, shuffle=shuffles[1]), strict=True
        )
        assert all(torch.equal(one, other) for one, other in pairs)


def test_a_shuffled_pass_gives_each_item_once_in_another_order() -> None:
    part = opened(SyntheticFrames(40)).train
    plain = torch.cat(list(part.batches(8)))
    shuffled = torch.cat(list(part.batches(8, shuffle=torch.Generator().manual_seed(0))))

    assert not torch.equal(plain, shuffled)
    assert torch.equal(plain.sum(dim=(1, 2, 3)).sort().values, shuffled.sum(dim=(1, 2, 3)).sort().values)


def test_the_fingerprint_tells_what_was_learnt_from_and_nothing_else() -> None:
    good = opened(SyntheticFrames(40))
    other = synthetic_frame(99)

    in_calibration = opened(Altered(40, {good.split.calibration[0]: other}))
    in_training = opened(Altered(40, {good.split.train[0]: other}))

    assert in_calibration.fingerprint == good.fingerprint
    assert in_training.fingerprint != good.fingerprint
    assert opened(SyntheticFrames(40)).fingerprint == good.fingerprint


def test_an_unreadable_part_is_left_out_and_named() -> None:
    good = opened(SyntheticFrames(40))
    lost = good.split.train[3]

    with_loss = opened(Altered(40, {lost: Reason.UNREADABLE}))

    assert with_loss.lost == (lost,)
    assert len(with_loss.train) == len(good.train) - 1


def test_what_is_held_in_memory_has_no_gap_where_a_part_was_lost() -> None:
    places = (0, 5)
    keys = opened(SyntheticFrames(60)).split.train
    data = Altered(60, {keys[place]: Reason.UNREADABLE for place in places})
    held, decoded = opened(data), opened(data, cache_bytes=1000)

    assert held.train.cached
    assert len(held.train) == len(keys) - 2
    assert torch.equal(held.train.take(range(len(held.train))), decoded.train.take(range(len(held.train))))


def test_a_part_without_items_gives_no_batches() -> None:
    nothing = PreparedPart(SyntheticFrames(40), [], torch.nn.Identity(), None)

    assert list(nothing.batches(4)) == []
    assert list(nothing.batches(4, shuffle=torch.Generator())) == []
    with pytest.raises(DataError, match="the validation set is empty: expected good parts to combine the scores"):
        scores_over(lambda batch: {"error": batch}, nothing, torch.device("cpu"))


def test_a_frame_that_the_file_would_call_invalid_is_not_learnt_from() -> None:
    dark = opened(SyntheticFrames(40)).split.train[0]

    assert opened(Altered(40, {dark: np.zeros((40, 56, 3), np.uint8)})).lost == (dark,)


def test_more_than_five_percent_unreadable_parts_are_refused_with_the_first_named() -> None:
    keys = opened(SyntheticFrames(40)).split.train[:3]

    with pytest.raises(DataError, match=rf"3 of \d+ good parts.*{keys[0]} \(cut off\)"):
        opened(Altered(40, dict.fromkeys(keys, Reason.UNREADABLE)))


def test_a_file_that_breaks_while_training_is_named() -> None:
    frames = Altered(40, {})
    good = opened(frames, cache_bytes=0)
    frames.changed[good.split.train[0]] = Reason.UNREADABLE

    with pytest.raises(
        DataError, match=f"{good.split.train[0]}: this file was readable when training began, but is not now: cut off"
    ):
        list(good.train.batches(8))


def test_windows_with_a_gap_are_neither_learnt_from_nor_a_loss() -> None:
    log = synthetic_log(1000)
    log.runs[0].values[100:140] = np.nan
    good = opened(log)
    used = (*good.split.train, *good.split.validation, *good.split.calibration)

    assert good.lost == ()
    assert not {("run0", row) for row in range(100, 140)} & rows_of(used)


def test_parts_that_belong_together_stay_on_one_side() -> None:
    used = opened(SyntheticFrames(60), group=r"^(?P<lot>\d\d)").split
    lots = [{key[:2] for key in keys} for keys in (used.train, used.validation, used.calibration)]

    assert not any(one & other for one, other in pairwise([*lots, lots[0]]))


def test_a_recipe_without_validation_trains_on_that_part_too_and_calibrates_on_the_same_one() -> None:
    frames = SyntheticFrames(40)
    with_it = opened(frames)
    without = prepare_data(frames, looking("frame", uses_validation=False), NoSettings(), seed=0)

    assert len(without.validation) == 0
    assert set(without.split.train) == {*with_it.split.train, *with_it.split.validation}
    assert without.split.calibration == with_it.split.calibration


def test_frames_for_a_detector_of_windows_are_refused() -> None:
    with pytest.raises(DataError, match="judges windows"):
        prepare_data(SyntheticFrames(40), looking("window"), NoSettings(), seed=0)


def test_copies_of_a_picture_count_once_and_never_lie_on_two_sides_of_the_split(
    caplog: pytest.LogCaptureFixture,
) -> None:
    copied: dict[str, NDArray[np.uint8] | Reason] = {
        f"{number:03}.png": synthetic_frame(number % 25) for number in range(100)
    }

    good = opened(Altered(100, copied))

    used = [*good.split.train, *good.split.validation, *good.split.calibration]
    assert sorted(used) == [f"{number:03}.png" for number in range(25)]
    assert len(good.copies) == 75
    assert len(good.split.calibration) == 14
    assert "100 files hold 25 distinct pictures (025.png repeats 000.png)" in caplog.text


def test_sixty_files_of_one_picture_are_refused_as_one_part(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(DataError, match="got 1"):
        opened(Altered(60, {f"{number:03}.png": synthetic_frame(1) for number in range(60)}))

    assert "60 files hold 1 distinct picture (" in caplog.text


def test_copies_of_a_recording_count_once_while_equal_windows_of_one_recording_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = synthetic_log(400)
    log.runs[0].values[:40] = log.runs[0].values[0]  # a machine that does not move
    again = tuple(
        Run(name=f"copy{number}", times_s=run.times_s, values=run.values) for number, run in enumerate(log.runs)
    )
    alone, doubled = opened(log), opened(msgspec.structs.replace(log, runs=(*log.runs, *again)))

    assert {key.partition("#")[0] for key in doubled.copies} == {"run0", "run1"}  # "copy0" is the first by name
    assert len(doubled.split.calibration) == len(alone.split.calibration)
    assert alone.copies == ()
    assert "2 of 4 recordings repeat another one" in caplog.text


def test_copies_change_nothing_about_what_is_learnt_from_the_others() -> None:
    plain = opened(SyntheticFrames(40))
    more = opened(Altered(45, {f"{number:03}.png": synthetic_frame(number - 40) for number in range(40, 45)}))

    assert (more.split, more.fingerprint) == (plain.split, plain.fingerprint)


def test_parts_are_read_once_where_their_tensors_fit_into_memory() -> None:
    class Counting(SyntheticFrames):
        reads = 0

        def read(self, ref: Ref) -> Item | Lost:
            type(self).reads += 1
            return super().read(ref)

    opened(Counting(40))

    assert Counting.reads == 40
