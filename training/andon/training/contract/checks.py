"""Checks that all detectors must pass. Each check is a function that takes a `Specimen` of a recipe.

The tests of andon run them on all recipes of this package. Other packages can run them on their own recipes::

    @pytest.fixture(scope="session")
    def specimen(tmp_path_factory): return Specimen(RECIPE, tmp_path_factory.mktemp("mine"))

    @pytest.mark.parametrize("check", CHECKS)
    def test_the_contract(check, specimen): check(specimen)

The data are small, synthetic and seeded. Training uses the recipe's `tiny` settings. All checks share one training and one
export. A failed check raises an AssertionError that states what was expected.
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
from andon.runtime.schema import RAW_SCORE, SCENE_FEATURES, TOLERANCE, FrameSpec, Reason, Status, WindowSpec
from andon.runtime.typical_window import typical
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
    """A recipe with data, one training and one export. Each is made on first access."""

    def __init__(self, recipe: Recipe, folder: Path) -> None:
        self.recipe = recipe
        self.folder = folder

    @cached_property
    def data(self) -> Collection | Log:
        """Good parts of the kind that the recipe takes: frames or a log."""
        return SyntheticFrames(FRAMES) if self.recipe.gives == "frame" else synthetic_log(self.steps * WINDOWS)

    @cached_property
    def steps(self) -> int:
        """Number of rows in a window; 0 for frames."""
        spec = self.recipe.wanted_input(self.recipe.tiny, synthetic_log(2).found)
        return spec.steps if isinstance(spec, WindowSpec) else 0

    @cached_property
    def run(self) -> LoadedRun:
        """A finished training with pictures. Its scorer is the one that was fitted; it was not loaded from a file."""
        return self.train("run", observe=ObserveOptions())

    @cached_property
    def exported(self) -> Exported:
        """The export of the stored run."""
        stored = load(self.run.path, of=self.recipe)
        return export_run(
            stored,
            self.folder / "model.onnx",
            request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
            data=self.data,
        )

    @cached_property
    def detector(self) -> Detector:
        """The exported file, loaded as in production."""
        return Detector.load(self.exported.path)

    @cached_property
    def items(self) -> list[NDArray[Any]]:
        """Five raw items that are not in the training data."""
        if self.recipe.gives == "frame":
            return [synthetic_frame(1000 + number) for number in range(5)]
        values = synthetic_log(5 * self.steps, seed=9).runs[0].values
        return [np.ascontiguousarray(window) for window in np.split(values[: 5 * self.steps], 5)]

    @cached_property
    def damaged(self) -> list[NDArray[Any]]:
        """The same items, with the middle half of each axis replaced by strong noise."""
        generator = np.random.default_rng(0)
        damaged = [item.copy() for item in self.items]
        over_all = np.stack(self.items).std(axis=0)  # a window of one row has no spread of its own
        for item in damaged:
            middle = item[tuple(slice(length // 4, length - length // 4) for length in item.shape[:-1])]
            if item.dtype == np.uint8:
                middle[:] = generator.integers(0, 256, middle.shape)
            else:
                spread = item.std(axis=0) if len(item) > 1 else over_all
                middle[:] = middle.mean(axis=0) + 5 * spread * generator.standard_normal(middle.shape)
        return damaged

    def train(
        self, name: str, *, observe: ObserveOptions | None = None, resume: bool = False, progress: Progress = silent
    ) -> LoadedRun:
        """Train again with the tiny settings. By default draw no pictures, because drawing takes longer than training."""
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
        """Return the scores ``[n]`` of the module for one batch."""
        pipeline = Pipeline(run.scorer, run.spec, self.recipe.score_rule(run.settings, run.spec)).eval()
        with torch.no_grad():
            scores: NDArray[np.float32] = pipeline(torch.from_numpy(np.stack(items)))[0].numpy()
        return scores


def its_settings_are_described_and_tiny_is_one_of_them(specimen: Specimen) -> None:
    """Check that each setting has a description and that `tiny` survives JSON. Flags and help are made from the struct."""
    recipe = specimen.recipe
    assert isinstance(recipe.tiny, recipe.settings), f"tiny must be a {recipe.settings.__name__}"
    for setting in fields(recipe.settings):
        assert setting.description, f"the setting {setting.name} needs a description"
    again = msgspec.convert(msgspec.to_builtins(recipe.tiny), recipe.settings)
    assert again == recipe.tiny, "settings must survive JSON"


def the_same_seed_gives_the_same_scores(specimen: Specimen) -> None:
    """Check that two trainings with one seed give bit-identical scores. All random generators must be seeded."""
    again = specimen.train("same-seed")
    first, second = (specimen.scores(run, specimen.items) for run in (specimen.run, again))
    assert np.array_equal(first, second), (
        f"two trainings with the same seed: expected equal scores, got {first}, {second}"
    )


def judging_twice_gives_the_same_scores(specimen: Specimen) -> None:
    """Check that scoring is deterministic: no random numbers and no dropout."""
    first, second = (specimen.scores(specimen.run, specimen.items) for _ in range(2))
    assert np.array_equal(first, second), f"the same items twice: expected equal scores, got {first}, {second}"


def a_run_that_was_stored_scores_as_the_one_that_was_trained(specimen: Specimen) -> None:
    """Check that parameters and buffers are the whole state of the scorer."""
    stored = load(specimen.run.path, of=specimen.recipe)
    assert stored.settings == specimen.recipe.tiny
    first, second = (specimen.scores(run, specimen.items) for run in (specimen.run, stored))
    assert np.array_equal(first, second), f"trained: {first}, stored and loaded: {second}"


def an_interrupted_run_resumes_to_the_same_weights(specimen: Specimen) -> None:
    """Check that a run stopped at its second call of `progress` and then resumed has the weights of an uninterrupted run."""

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
    assert not different, f"resumed run: expected the weights of an uninterrupted run, got different {different}"
    assert len(resumed.record.history) == len(specimen.run.record.history)


def a_run_of_another_version_is_refused(specimen: Specimen) -> None:
    """Check that a run of another recipe version is refused, and that the message names the andon that wrote it."""
    folder = specimen.folder / "older"
    record = msgspec.structs.replace(specimen.run.record, recipe_version=specimen.recipe.version + 1, andon="9.9.9")
    write_record(folder, record)
    refusal = ""
    try:
        load(folder, of=specimen.recipe)
    except TrainingError as error:
        refusal = str(error)
    assert "andon 9.9.9" in refusal, (
        f"run of another recipe version: expected a TrainingError that names the version of andon, got {refusal!r}"
    )


def a_part_alone_scores_as_in_a_batch(specimen: Specimen) -> None:
    """Check that the rows of a batch are independent of each other, in the module and in the file."""
    together = specimen.scores(specimen.run, specimen.items)
    unit = float(np.median(np.abs(together)))
    alone = np.concatenate([specimen.scores(specimen.run, [item]) for item in specimen.items])
    _assert_close("module, single items and a batch", alone, together, unit)
    with_damaged = specimen.scores(specimen.run, [specimen.items[0], *specimen.damaged])[:1]
    _assert_close("module, in a batch with damaged parts", with_damaged, together[:1], unit)
    in_file = np.array([verdict.score for verdict in specimen.detector.batch(specimen.items)])
    singly = np.array([specimen.detector(item).score for item in specimen.items])
    _assert_close("file, single items and a batch", singly, in_file, unit)


def the_file_scores_as_the_module(specimen: Specimen) -> None:
    """Check that file and module give the same scores for new items, some of them damaged."""
    calibration = specimen.exported.model.card.calibration
    assert calibration is not None
    items = [*specimen.items, *specimen.damaged]
    # the score before the scene check, which makes some damaged frames INVALID
    score = RAW_SCORE if RAW_SCORE in specimen.detector.card.outputs else "score"
    in_file = np.array([specimen.detector.measure([item], score)[0] for item in items])
    _assert_close("file and module", in_file, specimen.scores(specimen.run, items), calibration.good_scale)


def a_damaged_part_scores_above_a_good_one(specimen: Specimen) -> None:
    """Check that higher scores mean worse parts. This detects a wrong sign, even with tiny settings."""
    good, damaged = (specimen.scores(specimen.run, items) for items in (specimen.items, specimen.damaged))
    assert np.median(damaged) > np.median(good), (
        f"expected higher scores for damaged parts, got {damaged} for damaged and {good} for good parts"
    )


def a_window_far_outside_the_trained_range_is_rejected(specimen: Specimen) -> None:
    """Check that the file rejects windows far outside the trained range, although the network sees only clipped values.

    The reason of the verdict is `Reason.OUTSIDE_TRAINING`, because such a verdict does not depend on the detector.
    """
    spec = specimen.run.spec
    if not isinstance(spec, WindowSpec):
        return
    for deviations in (50.0, 500.0, 5000.0):
        usual = typical(spec)
        rows = (usual.center + deviations * usual.scale).astype(np.float32)[np.newaxis]
        verdict = specimen.detector(np.repeat(rows, spec.steps, axis=0))
        assert verdict.status is Status.REJECT, (
            f"window at {deviations:g} standard deviations: expected REJECT, got {verdict.status.name}"
        )
        assert verdict.reason is Reason.OUTSIDE_TRAINING, f"expected the reason outside_training, got {verdict.reason}"


def evidence_is_finite_and_of_its_declared_shape(specimen: Specimen) -> None:
    """Check all evidence outputs that the file lists."""
    verdict = specimen.detector(specimen.items[0])
    assert set(verdict.evidence) == set(specimen.detector.card.outputs) - {RAW_SCORE, SCENE_FEATURES}
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
        assert rebuilt.shape == expected, f"reconstruction: expected the shape {expected}, got {rebuilt.shape}"


def any_batch_and_frame_size_is_judged(specimen: Specimen) -> None:
    """Check that the graph does not depend on the shape of the example used for tracing."""
    for count in (1, 2, 5):
        verdicts = specimen.detector.batch(specimen.items[:count])
        assert len(verdicts) == count
    if specimen.recipe.gives == "frame":
        free = Detector.load(specimen.exported.path, frame_size="any")
        for height, width in ((33, 90), (120, 64)):
            verdict = free(synthetic_frame(7, (height, width)))
            assert np.isfinite(verdict.score), (
                f"frame of {height} x {width}: expected a finite score, got {verdict.status.name}"
            )


def the_golden_sample_is_judged_as_recorded(specimen: Specimen) -> None:
    """Check that the file verifies its golden sample, as another machine would."""
    golden = specimen.exported.model.golden
    assert golden is not None
    assert golden.origin == "synthetic", "a customer's part must not go into a file by default"
    specimen.detector.verify()


def the_metadata_say_what_the_file_is(specimen: Specimen) -> None:
    """Check name, version, settings, input, data fingerprint and calibration in the metadata."""
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
    """Check that a wrong type, rank or number of channels raises an InputError and gives no verdict."""
    item = specimen.items[0]
    other_type = np.float64 if item.dtype == np.float32 else np.uint16
    for wrong in (item.astype(other_type), item[np.newaxis], np.concatenate([item, item, item], axis=-1)):
        try:
            verdict = specimen.detector(wrong)
        except InputError:
            continue
        raise AssertionError(
            f"input {wrong.dtype} {list(wrong.shape)}: expected an InputError, got {verdict.status.name}"
        )


def broken_input_is_invalid(specimen: Specimen) -> None:
    """Check that a black frame (covered lens) or a window with NaN is INVALID: neither good nor bad."""
    broken = np.zeros_like(specimen.items[0])
    if broken.dtype == np.float32:
        broken[0, 0] = np.nan
    verdict = specimen.detector(broken)
    assert verdict.status is Status.INVALID, f"broken input: expected INVALID, got {verdict.status.name}"


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
"""All checks of the contract."""


def _assert_close(what: str, got: NDArray[Any], expected: NDArray[Any], unit: float) -> None:
    allowed = TOLERANCE * np.maximum(np.abs(expected), unit)
    assert (np.abs(got - expected) <= allowed).all(), f"{what}: expected equal scores {expected}, got {got}"
