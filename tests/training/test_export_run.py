"""A run is read otherwise at export: only what is given changes, and nothing is trained anew."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import msgspec
import numpy as np
import pytest

from andon.calibration.calibrate import Wish
from andon.cli import EXIT_DONE, EXIT_USER, main
from andon.runtime.detector import Detector
from andon.runtime.errors import ConfigError, DataError
from andon.runtime.schema import Reading
from andon.training.detectors import unet_autoencoder, window_vae
from andon.training.export_run import calibration_part, export_run, reading_of
from andon.training.run_folder import LoadedRun
from andon.training.synthetic import SyntheticFrames, synthetic_frame, synthetic_log
from andon.training.train import train

FRAMES = SyntheticFrames(40)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """Maps l1 and ssim; of l1 the highest hundredth decides."""
    settings = msgspec.structs.replace(unet_autoencoder.RECIPE.tiny, epochs=1)
    return train("unet_autoencoder", FRAMES, tmp_path_factory.mktemp("frames") / "run", settings=settings, threads=1)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    """The map error decides by its mean; scores euclid, mahalanobis, combined stand beside it."""
    settings = msgspec.structs.replace(window_vae.TINY, epochs=1)
    log = synthetic_log(16 * 60)
    return train("window_vae", log, tmp_path_factory.mktemp("windows") / "run", settings=settings, threads=1)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, Reading(map="l1", pool="top", share=0.01)),
        ({"pool": "max"}, Reading(map="l1", pool="max", share=0.01)),
        ({"map": "ssim"}, Reading(map="ssim", pool="top", share=0.01)),
        ({"share": 0.5, "smooth": 2.0}, Reading(map="l1", pool="top", share=0.5, smooth=2.0)),
    ],
    ids=str,
)
def test_only_what_is_given_changes(changes: Mapping[str, object], expected: Reading, frames: LoadedRun) -> None:
    assert reading_of(frames, changes) == expected


def test_a_score_takes_the_maps_place(windows: LoadedRun) -> None:
    assert reading_of(windows, {"score": "mahalanobis"}) == Reading(score="mahalanobis")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"pool": "max", "share": 0.1}, "--share is of --pool top, and this reading pools by max"),
        ({"share": 0.0}, "reading: share: expected a number > 0, <= 1, got 0.0."),
        ({"share": 1.5}, "reading: share: expected a number > 0, <= 1, got 1.5."),
        ({"smooth": -1.0}, "reading: smooth: expected a number >= 0, got -1.0."),
        ({"smooth": float("nan")}, "smooth"),
        ({"map": "l1", "score": "x"}, "give one of --map and --score"),
    ],
    ids=str,
)
def test_a_reading_that_is_none_is_refused(changes: Mapping[str, object], told: str, frames: LoadedRun) -> None:
    with pytest.raises(ConfigError) as refusal:
        reading_of(frames, changes)

    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"score": "euclid", "pool": "max"}, "--pool: the score 'euclid' decides as it is, only a map is pooled"),
        ({"smooth": 1.0}, "--smooth is of maps of frames, and this run judges windows"),
    ],
    ids=str,
)
def test_a_flag_that_would_change_nothing_is_refused(
    changes: Mapping[str, object], told: str, windows: LoadedRun
) -> None:
    with pytest.raises(ConfigError) as refusal:
        reading_of(windows, changes)

    assert told in str(refusal.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"map": "ssmi"}, "the scorer gives no map 'ssmi' (did you mean 'ssim'?). It gives: l1, ssim."),
        ({"score": "euclid"}, "the scorer gives no score 'euclid'. It gives: none."),
    ],
    ids=str,
)
def test_evidence_that_is_not_there_is_told_what_is(
    changes: Mapping[str, object], told: str, frames: LoadedRun, tmp_path: Path
) -> None:
    reading = reading_of(frames, changes)

    with pytest.raises(ConfigError) as refusal:
        export_run(
            frames, tmp_path / "a.onnx", wish=Wish(no_promise=True), date="2026-01-02", data=FRAMES, reading=reading
        )

    assert told in str(refusal.value)
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
    assert detector.card.reading == Reading(map="ssim", pool="max", share=0.01, smooth=1.0)
    assert verdict.score == pytest.approx(verdict.evidence["anomaly_map"].max(), rel=1e-5)
    assert main([*words, "--map", "ssim", "--score", "x"]) == EXIT_USER


def _parts(folder: Path) -> Path:
    """The pictures of `FRAMES` as files."""
    import cv2

    folder.mkdir()
    for ref in FRAMES.refs:
        pixels = np.ascontiguousarray(synthetic_frame(int(ref.key[:3]))[..., ::-1])
        assert cv2.imwrite(str(folder / ref.key), pixels)
    return folder


def test_photos_that_moved_are_asked_for_with_the_flag_that_gives_their_place(tmp_path: Path) -> None:
    run = cast("LoadedRun", SimpleNamespace(record=SimpleNamespace(data=str(tmp_path / "moved"))))

    with pytest.raises(DataError, match=r"moved: does not exist.* give its present place with --data"):
        calibration_part(run)
