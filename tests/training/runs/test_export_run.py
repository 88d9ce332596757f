"""Export of a run with another score rule, from moved or changed data, and of older runs. Nothing is trained again."""

import hashlib
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import numpy as np
import pytest
from tests.training.flat import train

from andon.calibration.request import CalibrationRequest, PromiseRequest, ShiftRequest
from andon.cli import EXIT_DONE, EXIT_USER, main
from andon.foundation.errors import ConfigError, DataError, NotEnoughParts, TrainingError
from andon.runtime.detector import Detector
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import ScoreRule, Weights
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_frame, synthetic_log
from andon.training.detectors import unet_autoencoder, window_vae
from andon.training.observers.epochs import NONE
from andon.training.runs.export_run import _pretrained, calibration_part, export_run, rule_of
from andon.training.runs.record import read_record, write_record
from andon.training.runs.run_folder import LoadedRun, load

FRAMES = SyntheticFrames(40)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """Run with the maps l1 and ssim. The highest hundredth of l1 decides."""
    settings = msgspec.structs.replace(unet_autoencoder.RECIPE.tiny, epochs=1)
    return train("unet_autoencoder", FRAMES, tmp_path_factory.mktemp("frames") / "run", settings=settings, threads=1)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """Run whose map "error" decides by its mean. It also has the scores euclid, mahalanobis and combined."""
    settings = msgspec.structs.replace(window_vae.TINY, epochs=1)
    log = synthetic_log(16 * 60)
    return train("window_vae", log, tmp_path_factory.mktemp("windows") / "run", settings=settings, threads=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ScoreRule(map="l1", pool="top", share=0.01)),
        ({"pool": "max"}, ScoreRule(map="l1", pool="max", share=0.01)),
        ({"map": "ssim"}, ScoreRule(map="ssim", pool="top", share=0.01)),
        ({"share": 0.5, "smooth": 2.0}, ScoreRule(map="l1", pool="top", share=0.5, smooth=2.0)),
    ],
    ids=str,
)
def test_only_what_is_given_changes(changes: Mapping[str, object], expected: ScoreRule, frames: LoadedRun) -> None:
    assert rule_of(frames, changes) == expected


def test_a_score_takes_the_maps_place(windows: LoadedRun) -> None:
    assert rule_of(windows, {"score": "mahalanobis"}) == ScoreRule(score="mahalanobis")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"pool": "max", "share": 0.1}, "--share: expected --pool top, got --pool max"),
        ({"share": 0.0}, "reading: share: expected a number > 0 and <= 1, got 0.0."),
        ({"share": 1.5}, "reading: share: expected a number > 0 and <= 1, got 1.5."),
        ({"smooth": -1.0}, "reading: smooth: expected a number >= 0, got -1.0."),
        ({"smooth": float("nan")}, "smooth"),
        ({"map": "l1", "score": "x"}, "--map and --score: expected one of them, got both"),
    ],
    ids=str,
)
def test_a_reading_that_is_none_is_refused(changes: Mapping[str, object], message: str, frames: LoadedRun) -> None:
    with pytest.raises(ConfigError) as refusal:
        rule_of(frames, changes)

    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"score": "euclid", "pool": "max"}, "--pool: expected a map to pool, got the score 'euclid'"),
        ({"smooth": 1.0}, "--smooth: expected a run on frames, got a run on windows"),
    ],
    ids=str,
)
def test_a_flag_that_would_change_nothing_is_refused(
    changes: Mapping[str, object], message: str, windows: LoadedRun
) -> None:
    with pytest.raises(ConfigError) as refusal:
        rule_of(windows, changes)

    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"map": "ssmi"}, "the scorer has no map 'ssmi' (did you mean 'ssim'?). Expected one of: l1, ssim."),
        ({"score": "euclid"}, "the scorer has no score 'euclid'. Expected one of: none."),
    ],
    ids=str,
)
def test_evidence_that_is_not_there_is_told_what_is(
    changes: Mapping[str, object], message: str, frames: LoadedRun, tmp_path: Path
) -> None:
    reading = rule_of(frames, changes)

    with pytest.raises(ConfigError) as refusal:
        export_run(
            frames,
            tmp_path / "a.onnx",
            request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
            data=FRAMES,
            rule=reading,
        )

    assert message in str(refusal.value)
    assert not (tmp_path / "a.onnx").exists()


@pytest.mark.slow
def test_the_flags_of_export_make_a_file_that_reads_so(
    frames: LoadedRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parts = _parts(tmp_path / "parts")
    model = tmp_path / "max.onnx"
    words = ["export", str(frames.path), "-o", str(model), "--data", str(parts), "--no-promise"]

    assert main([*words, "--map", "ssim", "--pool", "max", "--smooth", "1"]) == EXIT_DONE
    assert "maximum of ssim" in capsys.readouterr().out

    detector = Detector.load(model)
    verdict = detector(synthetic_frame(77))
    assert detector.card.reading == ScoreRule(map="ssim", pool="max", share=0.01, smooth=1.0)
    assert verdict.score == pytest.approx(verdict.evidence["anomaly_map"].max(), rel=1e-5)
    assert main([*words, "--map", "ssim", "--score", "x"]) == EXIT_USER


def _parts(folder: Path) -> Path:
    """Write the pictures of `FRAMES` as files."""
    import cv2

    folder.mkdir()
    for ref in FRAMES.refs:
        pixels = np.ascontiguousarray(synthetic_frame(int(ref.key[:3]))[..., ::-1])
        assert cv2.imwrite(str(folder / ref.key), pixels)
    return folder


def test_photos_that_moved_are_asked_for_with_the_flag_that_gives_their_place(tmp_path: Path) -> None:
    run = cast("LoadedRun", SimpleNamespace(record=SimpleNamespace(data=str(tmp_path / "moved"))))

    with pytest.raises(DataError, match=r"moved: does not exist.* give its new location with --data"):
        calibration_part(run)


class Replaced(SyntheticFrames):
    """A copy of `FRAMES` with other pictures under the names in `other`."""

    def __init__(self, count: int, other: Sequence[str]) -> None:
        super().__init__(count)
        self.other = set(other)

    def read(self, ref: Ref) -> Item | Lost:
        item = super().read(ref)
        if ref.key not in self.other or not isinstance(item, Item):
            return item
        return Item(ref, synthetic_frame(9000 + int(ref.key[:3])))


def test_other_pictures_under_the_names_of_the_calibration_parts_are_refused(frames: LoadedRun) -> None:
    one = frames.split.calibration[5]
    stored = load(frames.path)

    for data in (Replaced(40, frames.split.calibration), Replaced(40, [one])):
        part = calibration_part(stored, data)
        with pytest.raises(
            DataError, match=r"\.png: expected the calibration part that training held back under this name"
        ):
            [part.read(ref) for ref in part.refs]
    training_parts = calibration_part(stored, Replaced(40, frames.split.train))
    assert all(isinstance(training_parts.read(ref), Item) for ref in training_parts.refs)


@pytest.mark.slow
def test_other_windows_under_the_names_of_the_calibration_windows_are_never_calibrated_on(
    windows: LoadedRun, tmp_path: Path
) -> None:
    other = synthetic_log(16 * 60, seed=3)

    with pytest.raises(DataError, match="got different content"):
        export_run(
            windows,
            tmp_path / "a.onnx",
            request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
            data=other,
        )
    assert not (tmp_path / "a.onnx").exists()


def test_a_training_part_that_was_written_into_the_record_as_a_calibration_part_is_refused(
    frames: LoadedRun, tmp_path: Path
) -> None:
    swapped = shutil.copytree(frames.path, tmp_path / "run")
    record = read_record(swapped)
    split = msgspec.structs.replace(
        record.split, train=record.split.calibration, calibration=record.split.train[: len(record.split.calibration)]
    )
    write_record(swapped, msgspec.structs.replace(record, split=split))

    with pytest.raises(TrainingError, match=r"trained with the parts, settings and seed in run\.json"):
        load(swapped)


def test_a_run_of_an_older_andon_is_exported_with_a_warning(
    frames: LoadedRun, caplog: pytest.LogCaptureFixture
) -> None:
    older = msgspec.structs.replace(
        frames, record=msgspec.structs.replace(frames.record, contents={}, weights_sha256="")
    )

    part = calibration_part(older, FRAMES)

    assert isinstance(part.read(part.refs[0]), Item)
    assert "Cannot check" in caplog.text


def test_the_file_names_the_pretrained_weights_that_it_was_trained_with_and_a_changed_cache_is_noticed(
    frames: LoadedRun, caplog: pytest.LogCaptureFixture
) -> None:
    trained = Weights(name="net", licence="MIT", sha256="a" * 64)
    now = Weights(name="net", licence="GPL-3.0", sha256="b" * 64)
    run = msgspec.structs.replace(
        frames,
        record=msgspec.structs.replace(frames.record, pretrained=(trained,)),
        recipe=msgspec.structs.replace(frames.recipe, weights=lambda _settings: (now,)),
    )

    assert _pretrained(run) == (trained,)
    assert (
        "net: the file on this machine has changed since training (sha256 was aaaaaaaaaaaa, is now bbbbbbbbbbbb)"
        in caplog.text
    )


def test_pretrained_weights_are_recorded_when_training_ends(tmp_path: Path) -> None:
    own = tmp_path / "own.pth"

    def fit(_scorer: object, _good: object, _settings: object, _run: object) -> None:
        own.write_bytes(b"fetched while training")

    def weights(_settings: object) -> tuple[Weights, ...]:
        return (Weights(name="own", licence="as of the file", sha256=hashlib.sha256(own.read_bytes()).hexdigest()),)

    known = msgspec.structs.replace(unet_autoencoder.RECIPE, fit=fit, finalize=None, weights=weights)
    run = train(known, FRAMES, tmp_path / "run", settings=known.tiny, threads=1, picture_epochs=NONE)

    assert read_record(run.path).pretrained == weights(None)


def test_a_promise_that_needs_more_parts_says_how_many_to_train_with(frames: LoadedRun, tmp_path: Path) -> None:
    promise = PromiseRequest(false_reject=0.02)

    with pytest.raises(
        NotEnoughParts, match=r"got 14\. The run kept back 30 % of 40 .* Train again with about 500 good parts"
    ):
        export_run(
            frames, tmp_path / "a.onnx", request=CalibrationRequest(promise=promise, date="2026-01-02"), data=FRAMES
        )


def test_lots_and_windows_keep_the_advice_that_counts_in_their_own_units(windows: LoadedRun, tmp_path: Path) -> None:
    log = synthetic_log(16 * 60)

    with pytest.raises(NotEnoughParts) as refusal:
        export_run(
            windows,
            tmp_path / "a.onnx",
            request=CalibrationRequest(promise=PromiseRequest(false_reject=0.0001), date="2026-01-02"),
            data=log,
        )

    assert "Train again" not in str(refusal.value)
    assert re.search(r"kept back 30 % of the windows, so that is about \d+ more good rows", str(refusal.value))


def test_a_shift_promise_that_needs_more_parts_says_how_many_to_train_with(frames: LoadedRun, tmp_path: Path) -> None:
    promise = PromiseRequest(shift=ShiftRequest(parts=500, rejects=5))

    with pytest.raises(NotEnoughParts) as refusal:
        export_run(
            frames, tmp_path / "a.onnx", request=CalibrationRequest(promise=promise, date="2026-01-02"), data=FRAMES
        )

    assert str(refusal.value) == (
        "a promise of at most 5 rejects in the next 500 good parts needs 323 calibration parts (at 95 % confidence), got 14. The "
        "run kept back 30 % of 40 good parts for calibration, at least 14. Train again with about 1100 good parts, or with about "
        "410 and --calibration-share 0.8. 14 calibration parts support at most 97 rejects: --shift-rejects 97."
    )


@pytest.fixture
def from_folder(tmp_path: Path) -> LoadedRun:
    """Train on pictures in a folder. Tests put other folders next to it later."""
    settings = msgspec.structs.replace(unet_autoencoder.RECIPE.tiny, epochs=1)
    data = _parts(tmp_path / "data")
    return train("unet_autoencoder", data, tmp_path / "run", settings=settings, threads=1, picture_epochs=NONE)


@pytest.mark.parametrize("neighbour", ["scratch", "good", "train/good"])
def test_folders_that_came_after_the_training_do_not_keep_a_run_from_its_calibration_parts(
    neighbour: str, from_folder: LoadedRun
) -> None:
    data = Path(from_folder.record.data)
    (data / neighbour).mkdir(parents=True)
    one, other = (data / key for key in from_folder.split.calibration[:2])
    shutil.copy(one, data / neighbour / "0.png")

    part = calibration_part(from_folder)

    assert [ref.key for ref in part.refs] == list(from_folder.split.calibration)
    assert all(isinstance(part.read(ref), Item) for ref in part.refs)
    shutil.copy(other, one)
    with pytest.raises(DataError, match="got different content"):
        part.read(part.refs[0])


def test_pictures_that_are_missing_next_to_a_folder_of_defects_are_named(from_folder: LoadedRun) -> None:
    data = Path(from_folder.record.data)
    first = from_folder.split.calibration[0]
    (data / "scratch").mkdir()
    (data / first).rename(data / "scratch" / first)

    with pytest.raises(DataError, match=rf"1 of \d+ calibration parts .* the first is {first}.*--data"):
        calibration_part(from_folder)


@pytest.mark.slow
def test_a_run_is_exported_next_to_a_folder_of_defects(from_folder: LoadedRun, tmp_path: Path) -> None:
    data = Path(from_folder.record.data)
    (data / "scratch").mkdir()
    shutil.copy(data / from_folder.split.train[0], data / "scratch" / "0.png")

    export_run(
        from_folder,
        tmp_path / "a.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
    )

    assert (tmp_path / "a.onnx").exists()


def _interrupted(data: Path, run: Path) -> None:
    def stop(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("training", 1):
            raise KeyboardInterrupt

    settings = msgspec.structs.replace(unet_autoencoder.RECIPE.tiny, epochs=2)
    with pytest.raises(KeyboardInterrupt):
        train("unet_autoencoder", data, run, settings=settings, threads=1, picture_epochs=NONE, progress=stop)


def test_a_run_is_resumed_on_its_own_pictures_next_to_a_folder_of_defects(tmp_path: Path) -> None:
    data = _parts(tmp_path / "data")
    _interrupted(data, tmp_path / "run")
    before = read_record(tmp_path / "run")
    (data / "scratch").mkdir()
    shutil.copy(data / before.split.train[0], data / "scratch" / "0.png")

    resumed = train("unet_autoencoder", data, tmp_path / "run", resume=True, picture_epochs=NONE)

    assert resumed.record.finished
    assert (resumed.split, resumed.record.fingerprint) == (before.split, before.fingerprint)


def test_a_run_whose_pictures_are_gone_or_changed_is_not_resumed(tmp_path: Path) -> None:
    data = _parts(tmp_path / "data")
    _interrupted(data, tmp_path / "run")
    one, other = read_record(tmp_path / "run").split.train[:2]
    shutil.copy(data / one, tmp_path / "kept.png")
    (data / one).unlink()

    with pytest.raises(TrainingError, match=rf"data have changed .*\. 1 of its pictures .* the first is {one}"):
        train("unet_autoencoder", data, tmp_path / "run", resume=True)

    shutil.copy(data / other, data / one)
    with pytest.raises(TrainingError, match="data have changed"):
        train("unet_autoencoder", data, tmp_path / "run", resume=True)
