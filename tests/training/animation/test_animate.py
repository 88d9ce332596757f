"""Animations from a run folder as GIF or MP4, and refusals."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.training.animation.made_up import RECIPE, TINY
from tests.training.animation.test_encode import read_gif, read_mp4
from tests.training.flat import train

from andon.foundation.errors import ConfigError, TrainingError
from andon.training.animation.animate import animate
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_log
from andon.training.observers.epochs import NONE
from andon.training.runs.run_folder import LoadedRun


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    folder = tmp_path_factory.mktemp("animate") / "run"
    return train(RECIPE, SyntheticFrames(30), folder, settings=TINY, device="cpu", threads=1, picture_epochs=NONE)


@pytest.fixture(scope="module")
def windows(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    from andon.training.detectors.window_vae import RECIPE as WINDOWS

    folder = tmp_path_factory.mktemp("animate") / "windows"
    return train("window_vae", synthetic_log(600), folder, settings=WINDOWS.tiny, picture_epochs=NONE)


def test_all_that_a_run_has_is_shown_epoch_by_epoch(run: LoadedRun, tmp_path: Path) -> None:
    calls: list[tuple[str, int, int | None]] = []
    made = animate(run.path, tmp_path / "a.gif", progress=lambda *words: calls.append(words))
    found, _, _ = read_gif(tmp_path / "a.gif")

    assert made.panels == ("originals", "reconstructions", "maps", "samples")
    assert made.epochs[:-1] == (1, 2, 3, 4)
    assert len(found) == len(made.epochs) == 5
    assert {picture.shape for picture in found} == {(made.height, made.width, 3)}
    assert calls[-1] == ("drawing", 5, 5)


def test_an_mp4_has_the_rate_size_and_panels_that_were_asked_for(run: LoadedRun, tmp_path: Path) -> None:
    made = animate(run.path, tmp_path / "a.MP4", fps=8, size=321, panels=["reconstructions", "originals"])
    found, rate = read_mp4(tmp_path / "a.MP4")

    assert made.panels == ("originals", "reconstructions")
    assert rate == made.fps == 8
    assert made.width == 322
    assert {picture.shape for picture in found} == {(made.height, 322, 3)}
    assert len(found) == 5 + 11


def test_a_training_that_still_runs_is_animated_as_far_as_it_is(tmp_path: Path) -> None:
    def stop(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("training", 3):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(RECIPE, SyntheticFrames(30), tmp_path / "run", settings=TINY, device="cpu", threads=1, progress=stop)

    assert animate(tmp_path / "run", tmp_path / "a.gif").epochs == (1, 2, 3)


def test_windows_are_animated_as_curves(windows: LoadedRun, tmp_path: Path) -> None:
    made = animate(windows.path, tmp_path / "a.gif", size=400)

    assert made.panels == ("originals", "reconstructions")
    assert len(read_gif(tmp_path / "a.gif")[0]) == len(made.epochs)
    with pytest.raises(ConfigError, match=r"panels that this run has \(originals, reconstructions\), got maps\."):
        animate(windows.path, tmp_path / "b.gif", panels=["maps"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"out": "a.avi"}, r"a\.avi: expected a file name that ends in \.gif or \.mp4"),
        ({"fps": 0.0}, r"--fps: expected 0\.1 to 50 epochs per second, got 0"),
        ({"fps": float("nan")}, r"--fps: expected 0\.1 to 50 epochs per second, got nan"),
        ({"size": 10}, r"--size: expected a width of 64 to 4096 pixels, got 10"),
        ({"panels": ["sample"]}, r"unknown panel 'sample'.*samples.*Panels: originals, reconstructions"),
    ],
)
def test_what_cannot_be_made_is_refused_before_anything_is_drawn(
    run: LoadedRun, tmp_path: Path, arguments: dict[str, Any], words: str
) -> None:
    arguments = {"out": "a.gif", **arguments}
    with pytest.raises(ConfigError, match=words):
        animate(run.path, tmp_path / arguments.pop("out"), **arguments)

    assert list(tmp_path.iterdir()) == []


def test_a_detector_that_generates_nothing_has_no_samples_to_show(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(TINY, generates=False, epochs=1)
    run = train(RECIPE, SyntheticFrames(30), tmp_path / "run", settings=settings, device="cpu", threads=1)

    with pytest.raises(
        ConfigError, match=r"panels that this run has \(originals, reconstructions, maps\), got samples"
    ):
        animate(run.path, tmp_path / "a.gif", panels=["samples"])


def test_a_run_that_kept_nothing_says_why(tmp_path: Path) -> None:
    train(RECIPE, SyntheticFrames(30), tmp_path / "none", settings=TINY, device="cpu", animation_epochs=NONE)
    train("pixel_knn", SyntheticFrames(30), tmp_path / "knn", device="cpu")

    with pytest.raises(
        TrainingError, match=r"nothing to animate, because training kept no snapshots .*--animation-epochs none"
    ):
        animate(tmp_path / "none", tmp_path / "a.gif")
    with pytest.raises(TrainingError, match=r"nothing to animate, because pixel_knn does not train in epochs"):
        animate(tmp_path / "knn", tmp_path / "a.gif")
    with pytest.raises(TrainingError, match="expected a run folder"):
        animate(tmp_path / "nowhere", tmp_path / "a.gif")
