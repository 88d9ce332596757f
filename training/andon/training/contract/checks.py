"""What every detector must do, as functions that anyone can call on a recipe.

A recipe in this package is checked by existing; packages that bring their own call the same::

    @pytest.fixture(scope="session")
    def specimen(tmp_path_factory): return Specimen(RECIPE, tmp_path_factory.mktemp("mine"))

    @pytest.mark.parametrize("check", CHECKS)
    def test_the_contract(check, specimen): check(specimen)

The data are small, seeded and made here; training uses the recipe's `tiny` settings; one export serves all checks.
Failures are AssertionErrors that say what was expected.
"""

from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.export.export import Exported
from andon.export.graph import Pipeline
from andon.foundation.errors import InputError, TrainingError
from andon.foundation.progress import Progress, silent
from andon.foundation.settings import fields
from andon.runtime.detector import Detector
from andon.runtime.model_file.format import read
from andon.runtime.schema import TOLERANCE, FrameSpec, Status, WindowSpec
from andon.sources.collection import Collection
from andon.sources.series.log import Log
from andon.training.contract.synthetic_data import CHANNELS, FRAME_SIZE, SyntheticFrames, synthetic_frame, synthetic_log
from andon.training.observers.epochs import NONE
from andon.training.recipe.recipe import Recipe
from andon.training.runs.export_run import export_run
from andon.training.runs.record import write_record
from andon.training.runs.run_folder import LoadedRun, load
from andon.training.runs.train import ObserveOptions, TrainOptions, train

FRAMES = 70
WINDOWS = 90


class Specimen:
    """A recipe with data, one training and one export, made when first asked for."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe = recipe
        self.folder = folder

    @cached_property
    def data(self) -> Collection | Log:
        """Good parts of the kind that the recipe judges."""
        return SyntheticFrames(FRAMES) if self.recipe.gives == "frame" else synthetic_log(self.steps * WINDOWS)

    @cached_property
    def steps(self) -> int:
        """Rows of a window."""
        spec = self.recipe.wanted_input(self.recipe.tiny, synthetic_log(2).found)
        return spec.steps if isinstance(spec, WindowSpec) else 0

    @cached_property
    def run(self) -> LoadedRun:
        """Train once, and draw pictures. Its scorer is the one that was fitted, never stored and read."""
        return self.train("run", observe=ObserveOptions())

    @cached_property
    def exported(self) -> Exported:
        """Exported once, from what was stored."""
        stored = load(self.run.path, of=self.recipe)
        return export_run(
            stored,
            self.folder / "model.onnx",
            request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
            data=self.data,
        )

    @cached_property
    def detector(self) -> Detector:
        """The exported file, loaded as on the line."""
        return Detector.load(self.exported.path)

    @cached_property
    def items(self) -> list[NDArray[Any]]:
        """Five raw items that nobody has seen."""
        if self.recipe.gives == "frame":
            return [synthetic_frame(1000 + number) for number in range(5)]
        values = synthetic_log(5 * self.steps, seed=9).runs[0].values
        return [np.ascontiguousarray(window) for window in np.split(values[: 5 * self.steps], 5)]

    @cached_property
    def damaged(self) -> list[NDArray[Any]]:
        """The same items with the middle half replaced by noise as strong as anything in good parts."""
        generator = np.random.default_rng(0)
        damaged = [item.copy() for item in self.items]
        for item in damaged:
            middle = item[tuple(slice(length // 4, length - length // 4) for length in item.shape[:-1])]
            if item.dtype == np.uint8:
                middle[:] = generator.integers(0, 256, middle.shape)
            else:
                middle[:] = middle.mean(axis=0) + 5 * item.std(axis=0) * generator.standard_normal(middle.shape)
        return damaged

    def train(
        self, name: str, *, observe: ObserveOptions | None = None, resume: bool = False, progress: Progress = silent
    ) -> LoadedRun:
        """Train again with the tiny settings, without pictures unless asked: drawing them takes longer than training."""
        return train(
            self.recipe,
            self.data,
            self.folder / name,
            settings=self.recipe.tiny,
            options=TrainOptions(device="cpu", seed=3),
            observe=ObserveOptions(picture_epochs=NONE) if observe is None else observe,
            resume=resume,
            progress=progress,
        )

    def scores(self, run: LoadedRun, items: Sequence[NDArray[Any]]) -> NDArray[np.float32]:
        """``[n]``: what the module scores, in one batch."""
        pipeline = Pipeline(run.scorer, run.spec, self.recipe.score_rule(run.settings)).eval()
        with torch.no_grad():
            scores: NDArray[np.float32] = pipeline(torch.from_numpy(np.stack(items)))[0].numpy()
        return scores


def its_settings_are_described_and_tiny_is_one_of_them(specimen: Specimen) -> None:
    """Flags, help and documentation are made from the struct."""
    recipe = specimen.recipe
    assert isinstance(recipe.tiny, recipe.settings), f"tiny must be a {recipe.settings.__name__}"
    for setting in fields(recipe.settings):
        assert setting.description, f"the setting {setting.name} needs a description"
    again = msgspec.convert(msgspec.to_builtins(recipe.tiny), recipe.settings)
    assert again == recipe.tiny, "settings must survive JSON"


def the_same_seed_gives_the_same_scores(specimen: Specimen) -> None:
    """Bit for bit: whatever draws is seeded."""
    again = specimen.train("same-seed")
    first, second = (specimen.scores(run, specimen.items) for run in (specimen.run, again))
    assert np.array_equal(first, second), f"two trainings of one seed score {first} and {second}"


def judging_twice_gives_the_same_scores(specimen: Specimen) -> None:
    """Nothing is drawn or dropped when judging."""
    first, second = (specimen.scores(specimen.run, specimen.items) for _ in range(2))
    assert np.array_equal(first, second), f"the same items score {first} and then {second}"


def a_run_that_was_stored_scores_as_the_one_that_was_trained(specimen: Specimen) -> None:
    """Parameters and buffers are the whole state."""
    stored = load(specimen.run.path, of=specimen.recipe)
    assert stored.settings == specimen.recipe.tiny
    first, second = (specimen.scores(run, specimen.items) for run in (specimen.run, stored))
    assert np.array_equal(first, second), f"trained: {first}, stored and loaded: {second}"


def an_interrupted_run_resumes_to_the_same_weights(specimen: Specimen) -> None:
    """Stopped at its second sign of progress, it ends as if it had not been."""

    class Kill(Exception):
        pass

    seen: list[str] = []

    def interrupt(what: str, _done: int, _total: int | None) -> None:
        if what != "reading good parts":
            seen.append(what)
            if len(seen) == 2:
                raise Kill

    try:
        specimen.train("interrupted", progress=interrupt)
    except Kill:
        resumed = specimen.train("interrupted", resume=True)
    else:
        resumed = load(specimen.folder / "interrupted", of=specimen.recipe)
    expected, got = specimen.run.scorer.state_dict(), resumed.scorer.state_dict()
    different = [name for name in expected if not torch.equal(expected[name], got[name])]
    assert not different, f"after a resume these differ from an uninterrupted run: {different}"
    assert len(resumed.record.history) == len(specimen.run.record.history)


def a_run_of_another_version_is_refused(specimen: Specimen) -> None:
    """The andon that wrote it is named."""
    folder = specimen.folder / "older"
    record = msgspec.structs.replace(specimen.run.record, recipe_version=specimen.recipe.version + 1, andon="9.9.9")
    write_record(folder, record)
    refusal = ""
    try:
        load(folder, of=specimen.recipe)
    except TrainingError as error:
        refusal = str(error)
    assert "andon 9.9.9" in refusal, (
        f"a run of another recipe version must be refused, naming who wrote it: {refusal!r}"
    )


def a_part_alone_scores_as_in_a_batch(specimen: Specimen) -> None:
    """Rows are independent of each other, in the module and in the file."""
    together = specimen.scores(specimen.run, specimen.items)
    unit = float(np.median(np.abs(together)))
    alone = np.concatenate([specimen.scores(specimen.run, [item]) for item in specimen.items])
    _assert_close("module, alone against in a batch", alone, together, unit)
    beside_damage = specimen.scores(specimen.run, [specimen.items[0], *specimen.damaged])[:1]
    _assert_close("module, beside damaged parts", beside_damage, together[:1], unit)
    in_file = np.array([verdict.score for verdict in specimen.detector.batch(specimen.items)])
    singly = np.array([specimen.detector(item).score for item in specimen.items])
    _assert_close("file, alone against in a batch", singly, in_file, unit)


def the_file_scores_as_the_module(specimen: Specimen) -> None:
    """On items that neither training nor export has seen, damaged ones among them."""
    calibration = specimen.exported.model.card.calibration
    assert calibration is not None
    items = [*specimen.items, *specimen.damaged]
    in_file = np.array([specimen.detector(item).score for item in items])
    _assert_close("file against module", in_file, specimen.scores(specimen.run, items), calibration.good_scale)


def a_damaged_part_scores_above_a_good_one(specimen: Specimen) -> None:
    """Higher is worse: a sign turned round shows, even with tiny settings."""
    good, damaged = (specimen.scores(specimen.run, items) for items in (specimen.items, specimen.damaged))
    assert np.median(damaged) > np.median(good), f"good parts score {good}, noise in them {damaged}"


def a_window_far_outside_the_trained_range_is_rejected(specimen: Specimen) -> None:
    """The network sees clipped values; the file must not."""
    spec = specimen.run.spec
    if not isinstance(spec, WindowSpec):
        return
    for deviations in (50.0, 500.0, 5000.0):
        rows = np.array([[channel.center + deviations * channel.scale for channel in spec.channels]], np.float32)
        verdict = specimen.detector(np.repeat(rows, spec.steps, axis=0))
        assert verdict.status is Status.REJECT, f"{deviations:g} standard deviations out: {verdict.status.name}"


def evidence_is_finite_and_of_its_declared_shape(specimen: Specimen) -> None:
    """What people look at, for every output that the file lists."""
    verdict = specimen.detector(specimen.items[0])
    assert set(verdict.evidence) == set(specimen.detector.card.outputs)
    for name, array in verdict.evidence.items():
        assert np.isfinite(array).all(), f"{name} is not finite"
    spec = specimen.run.spec
    if isinstance(spec, WindowSpec) and "channel_scores" in verdict.evidence:
        assert verdict.evidence["channel_scores"].shape == (len(spec.channels),)
        assert verdict.evidence["step_scores"].shape == (spec.steps,)
    elif "anomaly_map" in verdict.evidence:
        assert verdict.evidence["anomaly_map"].ndim == 2
    if "reconstruction" in verdict.evidence:
        rebuilt = verdict.evidence["reconstruction"]
        expected = (*spec.size, spec.channels) if isinstance(spec, FrameSpec) else (spec.steps, len(spec.channels))
        assert rebuilt.shape == expected, f"the reconstruction has the shape {rebuilt.shape}, expected {expected}"


def any_batch_and_frame_size_is_judged(specimen: Specimen) -> None:
    """Nothing of the traced example's shape is frozen into the graph."""
    for count in (1, 2, 5):
        verdicts = specimen.detector.batch(specimen.items[:count])
        assert len(verdicts) == count
    if specimen.recipe.gives == "frame":
        free = Detector.load(specimen.exported.path, frame_size="any")
        for height, width in ((33, 90), (120, 64)):
            verdict = free(synthetic_frame(7, (height, width)))
            assert np.isfinite(verdict.score), f"a frame of {height} x {width} is judged {verdict.status.name}"


def the_golden_sample_is_judged_as_recorded(specimen: Specimen) -> None:
    """The file can be verified on another machine."""
    golden = specimen.exported.model.golden
    assert golden is not None
    assert golden.origin == "synthetic", "a customer's part must not go into a file unasked"
    specimen.detector.verify()


def the_metadata_say_what_the_file_is(specimen: Specimen) -> None:
    """Name, version, settings, input, training data."""
    card = read(specimen.exported.path).card
    assert (card.detector, card.detector_version) == (specimen.recipe.name, specimen.recipe.version)
    assert msgspec.convert(card.settings, specimen.recipe.settings) == specimen.recipe.tiny
    assert card.data_fingerprint == specimen.run.record.fingerprint != ""
    if isinstance(card.input, FrameSpec):
        assert card.input.frame_size == FRAME_SIZE
    else:
        assert [channel.name for channel in card.input.channels] == list(CHANNELS)
    assert card.calibration is not None
    assert card.calibration.n >= 14


def wrong_input_is_refused(specimen: Specimen) -> None:
    """Another type, rank or number of channels is the caller's mistake, never a verdict."""
    item = specimen.items[0]
    other_type = np.float64 if item.dtype == np.float32 else np.uint16
    for wrong in (item.astype(other_type), item[np.newaxis], np.concatenate([item, item, item], axis=-1)):
        try:
            verdict = specimen.detector(wrong)
        except InputError:
            continue
        raise AssertionError(f"{wrong.dtype} {list(wrong.shape)} was judged {verdict.status.name}")


def broken_input_is_invalid(specimen: Specimen) -> None:
    """A covered lens or a sensor that gives NaN is neither good nor bad."""
    broken = np.zeros_like(specimen.items[0])
    if broken.dtype == np.float32:
        broken[0, 0] = np.nan
    verdict = specimen.detector(broken)
    assert verdict.status is Status.INVALID, f"judged {verdict.status.name}"


CHECKS: tuple[Callable[[Specimen], None], ...] = (
    its_settings_are_described_and_tiny_is_one_of_them,
    the_same_seed_gives_the_same_scores,
    judging_twice_gives_the_same_scores,
    a_run_that_was_stored_scores_as_the_one_that_was_trained,
    an_interrupted_run_resumes_to_the_same_weights,
    a_run_of_another_version_is_refused,
    a_part_alone_scores_as_in_a_batch,
    the_file_scores_as_the_module,
    a_damaged_part_scores_above_a_good_one,
    a_window_far_outside_the_trained_range_is_rejected,
    evidence_is_finite_and_of_its_declared_shape,
    any_batch_and_frame_size_is_judged,
    the_golden_sample_is_judged_as_recorded,
    the_metadata_say_what_the_file_is,
    wrong_input_is_refused,
    broken_input_is_invalid,
)
"""All of the contract."""


def _assert_close(what: str, got: NDArray[Any], expected: NDArray[Any], unit: float) -> None:
    allowed = TOLERANCE * np.maximum(np.abs(expected), unit)
    assert (np.abs(got - expected) <= allowed).all(), f"{what}: {got} is not {expected}"
