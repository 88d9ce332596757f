"""Snapshots for animations: their epochs, no effect on the training, and no gap after a resumed training."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.animation.made_up import RECIPE, TINY, Dreamer
from tests.training.flat import train
from tests.training.in_memory import Parts

from andon.foundation.errors import TrainingError
from andon.runtime.schema import FrameSpec, ScoreRule
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_log
from andon.training.observers.epoch_snapshots import (
    MOST_SIDE,
    SAMPLES,
    EpochSnapshots,
    Snapshot,
    _reduced,
    read_snapshot_parts,
    read_snapshots,
)
from andon.training.observers.epochs import NONE, each, just
from andon.training.runs.record import read_record
from andon.training.runs.run_folder import LoadedRun

PARTS = 30


def trained(folder: Path, **arguments: Any) -> LoadedRun:
    arguments = {"settings": TINY, "device": "cpu", "threads": 1, "picture_epochs": NONE, **arguments}
    return train(RECIPE, SyntheticFrames(PARTS), folder, **arguments)


def reel(run: LoadedRun) -> Path:
    return run.path / "reel"


def snapshots(run: LoadedRun) -> list[Snapshot]:
    return read_snapshots(reel(run))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    return trained(tmp_path_factory.mktemp("reel") / "run")


def test_each_epoch_and_the_kept_weights_have_a_scene_of_all_that_there_is(run: LoadedRun) -> None:
    found = snapshots(run)
    parts = read_snapshot_parts(reel(run), run.spec)

    assert [(snapshot.epoch, snapshot.kept) for snapshot in found[:-1]] == [
        (1, False),
        (2, False),
        (3, False),
        (4, False),
    ]
    assert found[-1].kept
    assert parts is not None
    assert parts.captions == ("good (training)",) + ("good (validation)",) * (len(parts.originals) - 1)
    for snapshot in found:
        assert snapshot.reconstructions is not None
        assert snapshot.reconstructions.shape == parts.originals.shape == (4, 12, 16, 3)
        assert snapshot.reconstructions.dtype == parts.originals.dtype == np.uint8
        assert snapshot.maps is not None
        assert snapshot.maps.shape == (4, 12, 16)
        assert snapshot.scores is not None
        # the score is the mean over the map
        np.testing.assert_allclose(snapshot.scores, snapshot.maps.mean(axis=(1, 2)), rtol=1e-4)
        assert snapshot.samples is not None
        assert snapshot.samples.shape == (SAMPLES, 12, 16, 3)


def test_the_last_scene_shows_what_the_kept_weights_rebuild(run: LoadedRun) -> None:
    prepared = torch.from_numpy(read(reel(run) / "parts.safetensors")["prepared"])
    with torch.no_grad():
        rebuilt = run.scorer(prepared).images["reconstruction"]

    levels = (255 * rebuilt).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(levels - snapshots(run)[-1].reconstructions).max() <= 1


def read(path: Path) -> dict[str, Any]:
    from safetensors.numpy import load_file

    return load_file(path)


def test_samples_come_from_the_same_points_each_epoch(run: LoadedRun) -> None:
    first, *_, last = snapshots(run)
    assert run.record.history[-1]["epoch"] == 4.0
    assert first.samples is not None
    assert last.samples is not None
    with torch.no_grad():
        again = RECIPE.sample(run.scorer, run.settings, SAMPLES, torch.Generator().manual_seed(0))  # type: ignore[misc]

    assert (first.samples != last.samples).any()
    levels = (255 * again).round().permute(0, 2, 3, 1).numpy()
    assert np.abs(levels - last.samples).max() <= 1


def test_the_weights_are_those_of_a_training_that_kept_nothing(run: LoadedRun, tmp_path: Path) -> None:
    other = trained(tmp_path, animation_epochs=NONE)

    assert not (tmp_path / "reel").exists()
    assert all(torch.equal(mine, run.scorer.state_dict()[name]) for name, mine in other.scorer.state_dict().items())
    losses = [[row[name] for name in ("train", "validation")] for row in other.record.history]
    assert losses == [[row[name] for name in ("train", "validation")] for row in run.record.history]


@pytest.mark.parametrize("last", [1, 2, 3])
def test_a_resumed_training_goes_on_with_the_series(run: LoadedRun, tmp_path: Path, last: int) -> None:
    def stop(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("training", last):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, progress=stop)
    before = [path.name for path in (tmp_path / "reel").glob("epoch_*")]
    resumed = trained(tmp_path, resume=True)

    assert len(before) == last
    assert len(snapshots(resumed)) == len(snapshots(run))
    for mine, other in zip(snapshots(resumed), snapshots(run), strict=True):
        for name in ("epoch", "kept", "reconstructions", "maps", "scores", "samples"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(other, name))


def test_a_snapshot_of_an_epoch_that_was_cut_off_is_made_anew(tmp_path: Path) -> None:
    def stop(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("training", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path, progress=stop, animation_epochs=just(1, 2, 4))
    folder = tmp_path / "reel"
    (folder / "epoch_0003.safetensors").write_bytes((folder / "epoch_0001.safetensors").read_bytes())
    resumed = trained(tmp_path, resume=True)

    assert [snapshot.epoch for snapshot in snapshots(resumed)[:-1]] == [1, 2, 4]
    assert resumed.record.animation_epochs == (1, 2, 4)


def test_a_training_that_begins_anew_begins_with_an_empty_reel(run: LoadedRun, tmp_path: Path) -> None:
    folder = tmp_path / "reel"
    folder.mkdir(parents=True)
    (folder / "epoch_0099.safetensors").write_bytes((reel(run) / "epoch_0001.safetensors").read_bytes())

    assert [snapshot.epoch for snapshot in snapshots(trained(tmp_path))[:-1]] == [1, 2, 3, 4]


def test_each_so_many_is_recorded_and_kept(tmp_path: Path) -> None:
    found = trained(tmp_path, animation_epochs=each(3))

    assert read_record(tmp_path).animation_epochs == 3
    assert [snapshot.epoch for snapshot in snapshots(found)[:-1]] == [1, 3]


def test_a_setting_that_generates_nothing_leaves_the_rest(tmp_path: Path) -> None:
    found = trained(tmp_path, settings=msgspec.structs.replace(TINY, generates=False))

    assert len(snapshots(found)) == 5
    assert all(snapshot.samples is None and snapshot.reconstructions is not None for snapshot in snapshots(found))


def test_what_generates_without_rebuilding_keeps_what_is_generated(tmp_path: Path) -> None:
    found = trained(tmp_path, settings=msgspec.structs.replace(TINY, rebuilds=False))

    assert read_snapshot_parts(reel(found), found.spec) is None
    assert all(snapshot.samples is not None and snapshot.reconstructions is None for snapshot in snapshots(found))


def test_what_neither_rebuilds_nor_generates_keeps_nothing(tmp_path: Path) -> None:
    found = trained(tmp_path, settings=msgspec.structs.replace(TINY, rebuilds=False, generates=False))

    assert snapshots(found) == []
    assert list(reel(found).iterdir()) == []


def test_windows_are_kept_in_sensor_units(tmp_path: Path) -> None:
    from andon.training.detectors.window_vae import RECIPE as WINDOWS

    found = train("window_vae", synthetic_log(600), tmp_path, settings=WINDOWS.tiny, picture_epochs=NONE)
    parts = read_snapshot_parts(reel(found), found.spec)

    assert parts is not None
    assert 200 < parts.originals[..., 0].mean() < 260  # the wave is around 230
    rebuilt = snapshots(found)[-1].reconstructions
    assert rebuilt is not None
    assert rebuilt.dtype == np.float32
    assert rebuilt.shape == parts.originals.shape


@given(height=st.integers(1, 700), width=st.integers(1, 700))
def test_what_is_kept_is_bounded_and_keeps_its_shape(height: int, width: int) -> None:
    smaller = _reduced(torch.rand(1, 1, height, width)).shape[2:]

    assert max(smaller) == min(MOST_SIDE, max(height, width))
    exact = min(height, width) * max(smaller) / max(height, width)
    assert min(smaller) >= 1
    assert abs(min(smaller) - exact) <= 1


def test_a_damaged_scene_says_so(run: LoadedRun, tmp_path: Path) -> None:
    (tmp_path / "epoch_0001.safetensors").write_bytes(b"half")

    with pytest.raises(TrainingError, match=r"epoch_0001\.safetensors: expected a snapshot of a training"):
        read_snapshots(tmp_path)


def test_what_is_not_finite_is_not_kept_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    spec = FrameSpec(channels=3, size=(12, 16))
    good = Parts(torch.rand(9, 3, 12, 16), torch.rand(3, 3, 12, 16))
    kept = EpochSnapshots(tmp_path, good, spec, ScoreRule(map="error"), device=torch.device("cpu"), seed=0)
    scorer = Dreamer(TINY, spec).train()
    with torch.no_grad():
        next(scorer.decoder.parameters()).fill_(torch.nan)
    kept.after_epoch(scorer, 1)

    assert read_snapshots(tmp_path) == []
    assert "epoch_0001.safetensors: not kept" in caplog.text
    assert scorer.training
