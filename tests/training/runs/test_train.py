"""Training and export from Python: `train`, `export_run`, resuming, and refusals."""

import os
import re
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
import torch
from tests.training.flat import train

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.foundation.errors import ConfigError, DataError, DeviceError, TrainingError
from andon.runtime import Detector, Status
from andon.runtime.schema import InputSpec, ScoreRule
from andon.sources.pictures import folder_walk
from andon.sources.series.log import Log
from andon.training.contract.synthetic_data import synthetic_frame, synthetic_log
from andon.training.detectors.window_vae import RECIPE, Settings
from andon.training.observers.epochs import NONE, each
from andon.training.runs.export_run import calibration_part, export_run
from andon.training.runs.fit_state import kept_history
from andon.training.runs.folder_lock import LOCK, this_process
from andon.training.runs.paths import RUN, STATE, kept_epochs
from andon.training.runs.record import read_record, write_record
from andon.training.runs.run_folder import LoadedRun, load

TINY = RECIPE.tiny
ROWS = 16 * 90


@pytest.fixture(scope="module")
def log() -> Log:
    return synthetic_log(ROWS)


@pytest.fixture(scope="module")
def run(log: Log, tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    return train("window_vae", log, tmp_path_factory.mktemp("train") / "run", settings=TINY, threads=1)


def test_three_lines_lead_from_data_to_a_verdict(log: Log, tmp_path: Path) -> None:
    settings = Settings(steps=16, hop=4, latent=3, widths=(32,), epochs=12)
    run = train("window_vae", log, tmp_path / "run", settings=settings)
    export_run(
        run,
        tmp_path / "pump.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
        data=log,
    )
    detector = Detector.load(tmp_path / "pump.onnx")

    window = synthetic_log(16, seed=50).runs[0].values
    assert detector(window).status is Status.OK
    spike = window.copy()
    spike[8:11, 0] += 60
    assert detector(spike).status is Status.REJECT
    assert detector(spike).evidence["channel_scores"].argmax() == 0


def test_the_record_says_how_the_run_can_be_had_again(run: LoadedRun) -> None:
    record = run.record

    assert (record.recipe, record.seed, record.threads, record.device) == ("window_vae", 0, 1, "cpu")
    assert len(record.history) == msgspec.to_builtins(TINY)["epochs"]
    assert len(record.fingerprint) == 64
    assert set(record.versions) == {"andon", "numpy", "torch"}


def test_the_curves_are_drawn(run: LoadedRun) -> None:
    assert (run.path / "pictures" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_an_existing_run_is_never_overwritten(run: LoadedRun, log: Log) -> None:
    with pytest.raises(TrainingError, match=r"already holds a run.*--resume"):
        train("window_vae", log, run.path, settings=TINY)


def test_resuming_a_finished_run_gives_it_back(run: LoadedRun, log: Log) -> None:
    again = train("window_vae", log, run.path, resume=True)

    assert again.record == run.record
    assert torch.equal(again.scorer.state_dict()["mean.weight"], run.scorer.state_dict()["mean.weight"])


def interrupted(log: Log, folder: Path, *, seed: int = 4, before_learning: bool = False, **arguments: Any) -> None:
    def stop(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("training", 2):
            raise KeyboardInterrupt

    def build(settings: Settings, spec: InputSpec) -> Any:
        if before_learning:
            raise KeyboardInterrupt
        return RECIPE.build(settings, spec)

    known = msgspec.structs.replace(RECIPE, build=build)
    with pytest.raises(KeyboardInterrupt):
        train(known, log, folder, settings=TINY, seed=seed, progress=stop, picture_epochs=NONE, **arguments)


def assert_learnt_the_same(one: LoadedRun, other: LoadedRun) -> None:
    losses = [[row["train"] for row in run.record.history] for run in (one, other)]
    assert losses[0] == losses[1]
    weights = other.scorer.state_dict()
    assert all(torch.equal(tensor, weights[name]) for name, tensor in one.scorer.state_dict().items())


def test_resuming_takes_settings_and_seed_from_the_run(log: Log, tmp_path: Path) -> None:
    interrupted(log, tmp_path)
    assert not read_record(tmp_path).finished

    resumed = train("window_vae", log, tmp_path, resume=True)

    assert resumed.record.finished
    assert resumed.record.seed == 4
    assert resumed.settings == TINY


def test_a_run_finishes_where_nothing_can_be_drawn_and_tells_of_it(
    log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for taken in ("pictures", "reel", "checkpoints"):
        (tmp_path / taken).write_text("a file where a folder should be")

    run = train("window_vae", log, tmp_path, settings=TINY, checkpoint_epochs=each(1), animation_epochs=each(1))

    assert load(run.path).record.finished
    assert len(run.record.history) == msgspec.to_builtins(TINY)["epochs"]
    continues = [record.getMessage() for record in caplog.records if "Training continues" in record.getMessage()]
    assert ["/checkpoints/" in message or "/pictures/" in message or "/reel/" in message for message in continues] == [
        True
    ] * 3
    assert "curves.png: cannot be written" in caplog.text


def test_a_state_without_its_record_is_not_taken_up(log: Log, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    interrupted(log, tmp_path / "left", checkpoint_epochs=each(1))
    (tmp_path / "left" / RUN).unlink()
    other = synthetic_log(ROWS, seed=77)

    anew = train("window_vae", other, tmp_path / "left", settings=TINY, resume=True, picture_epochs=NONE)
    alone = train("window_vae", other, tmp_path / "alone", settings=TINY, picture_epochs=NONE)

    assert "starting a new one" in caplog.text
    assert "removed files of another training" in caplog.text
    assert_learnt_the_same(anew, alone)
    assert kept_epochs(anew.path) == []


def test_a_state_that_was_left_is_not_taken_up_by_resuming_what_ended_before_its_first_epoch(
    log: Log, tmp_path: Path
) -> None:
    interrupted(log, tmp_path / "left")
    (tmp_path / "left" / RUN).unlink()
    interrupted(log, tmp_path / "left", seed=5, before_learning=True)
    assert read_record(tmp_path / "left").seed == 5

    resumed = train("window_vae", log, tmp_path / "left", resume=True)

    alone = train("window_vae", log, tmp_path / "alone", settings=TINY, seed=5, picture_epochs=NONE)
    assert_learnt_the_same(resumed, alone)


def test_the_state_of_another_training_is_refused(log: Log, tmp_path: Path) -> None:
    interrupted(log, tmp_path / "one")
    interrupted(log, tmp_path / "other", seed=5)
    (tmp_path / "one" / STATE).replace(tmp_path / "other" / STATE)

    with pytest.raises(
        TrainingError, match=r"state\.safetensors: .*got the state of a training with different seed.*Delete"
    ):
        train("window_vae", log, tmp_path / "other", resume=True)


def test_resuming_with_other_settings_is_refused(log: Log, tmp_path: Path) -> None:
    interrupted(log, tmp_path)

    with pytest.raises(
        TrainingError, match=r"expected the settings of the first run, got others \(.+: expected .+, got .+\)"
    ):
        train("window_vae", log, tmp_path, settings=Settings(), resume=True)


def test_resuming_on_other_data_is_refused(log: Log, tmp_path: Path) -> None:
    interrupted(log, tmp_path)

    with pytest.raises(TrainingError, match="data have changed"):
        train("window_vae", synthetic_log(ROWS, seed=77), tmp_path, resume=True)


def test_a_run_that_cannot_begin_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        train("window_vae", synthetic_log(40), tmp_path / "run", settings=TINY)

    assert not (tmp_path / "run").exists()


def test_threads_seed_and_determinism_of_the_caller_are_as_before(log: Log, tmp_path: Path) -> None:
    before = torch.get_rng_state()
    recorded = train("window_vae", log, tmp_path, settings=TINY, threads=2, picture_epochs=NONE).record.threads

    assert recorded == 2
    assert torch.get_num_threads() == 1
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_resumed_run_uses_the_threads_it_began_with(log: Log, tmp_path: Path) -> None:
    def stop(what: str, done: int, _total: int | None) -> None:
        if what == "training":
            raise KeyboardInterrupt

    seen: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        train("window_vae", log, tmp_path, settings=TINY, threads=2, progress=stop, picture_epochs=NONE)
    train("window_vae", log, tmp_path, resume=True, progress=lambda *_: seen.append(torch.get_num_threads()))

    assert set(seen) == {2}


def test_a_misspelt_detector_is_answered_with_the_nearest(log: Log, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="did you mean 'window_vae'"):
        train("windowvae", log, tmp_path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_where_there_is_none_is_refused(log: Log, tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="--device cuda: PyTorch finds no CUDA device"):
        train("window_vae", log, tmp_path, device="cuda")


def test_another_reading_needs_no_training(run: LoadedRun, log: Log, tmp_path: Path) -> None:
    largest = ScoreRule(map="error", pool="max")
    export_run(
        run,
        tmp_path / "max.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
        data=log,
        rule=largest,
    )
    detector = Detector.load(tmp_path / "max.onnx")

    verdict = detector(np.ascontiguousarray(log.runs[0].values[:16]))
    assert detector.card.reading == largest
    assert verdict.score > verdict.evidence["step_scores"].max()


def test_the_calibration_part_is_the_one_that_was_kept_back(run: LoadedRun, log: Log) -> None:
    part = calibration_part(load(run.path), log)

    assert tuple(ref.key for ref in part.refs) == run.split.calibration


@pytest.mark.slow
def test_as_much_is_kept_back_as_was_asked_for_and_the_export_takes_just_that(log: Log, tmp_path: Path) -> None:
    run = train("window_vae", log, tmp_path / "run", settings=TINY, calibration_share=0.5)
    exported = export_run(
        run.path,
        tmp_path / "half.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
        data=log,
    )

    assert run.record.calibration_share == 0.5
    assert len(run.split.calibration) == pytest.approx(
        0.5 * ROWS * 2 / 16, abs=2
    )  # half of the disjoint windows of two runs
    assert exported.model.card.calibration is not None
    assert exported.model.card.calibration.n == len(run.split.calibration)


def test_resuming_splits_as_the_run_did(log: Log, tmp_path: Path) -> None:
    interrupted(log, tmp_path, calibration_share=0.4)
    first = read_record(tmp_path)

    with pytest.raises(
        TrainingError, match=r"expected --calibration-share 0.4 as in the first run, got 0.3. Leave it out"
    ):
        train("window_vae", log, tmp_path, resume=True, calibration_share=0.3)
    resumed = train("window_vae", log, tmp_path, resume=True)

    assert resumed.record.calibration_share == 0.4
    assert resumed.split == first.split


def test_a_share_out_of_bounds_is_refused_before_anything_is_written(log: Log, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--calibration-share: expected a share"):
        train("window_vae", log, tmp_path / "run", settings=TINY, calibration_share=0.9)

    assert not (tmp_path / "run").exists()


def test_data_from_memory_must_be_given_again(run: LoadedRun) -> None:
    with pytest.raises(DataError, match="Pass them as data="):
        calibration_part(run)


def test_missing_calibration_parts_are_named(run: LoadedRun) -> None:
    with pytest.raises(DataError, match="calibration parts are missing"):
        calibration_part(run, synthetic_log(ROWS // 2))


def test_a_second_training_in_the_same_run_folder_is_refused_and_the_first_continues(log: Log, tmp_path: Path) -> None:
    refusals: list[pytest.ExceptionInfo[TrainingError]] = []
    held = rf"run: in use by process {os.getpid()} on .*, which last renewed its lock \d+ s ago\. Wait until that process ends"

    def begin_another(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("reading good parts", 1) and not refusals:
            for resume in (False, True):
                with pytest.raises(TrainingError, match=held) as refusal:
                    train("window_vae", log, tmp_path / "run", settings=TINY, seed=1, resume=resume)
                refusals.append(refusal)

    first = train("window_vae", log, tmp_path / "run", settings=TINY, progress=begin_another, picture_epochs=NONE)

    assert len(refusals) == 2
    assert read_record(first.path).seed == 0
    assert not (first.path / LOCK).exists()


def test_the_lock_of_a_training_that_was_killed_does_not_block_the_next(log: Log, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    folder.mkdir()
    dead = msgspec.structs.replace(this_process(), began="0", token="another")
    (folder / LOCK).write_bytes(msgspec.json.encode(dead))

    assert train("window_vae", log, folder, settings=TINY, picture_epochs=NONE).record.finished


def test_a_run_below_its_own_data_is_no_data(tmp_path: Path) -> None:
    assert folder_walk.RUN == RUN
    data = tmp_path / "d4"
    data.mkdir()
    for number in range(40):
        assert cv2.imwrite(str(data / f"{number}.png"), synthetic_frame(number)[..., ::-1])
    out = data / "run"

    trained = train("pixel_knn", data, out, device="cpu", threads=1)
    assert list(out.rglob("*.png"))  # pictures that could be mistaken for parts
    write_record(out, msgspec.structs.replace(trained.record, finished=False))

    again = train("pixel_knn", data, out, device="cpu", threads=1, resume=True)

    assert again.record.split == trained.record.split
    export_run(
        again,
        tmp_path / "knn.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-11-28"),
    )


def test_who_holds_the_folder_is_said_where_it_cannot_be_seen_from_here(log: Log, tmp_path: Path) -> None:
    away = msgspec.structs.replace(this_process(), host="line3", pid=77, token="another")
    (tmp_path / LOCK).write_bytes(msgspec.json.encode(away))

    with pytest.raises(TrainingError) as refusal:
        train("window_vae", log, tmp_path, settings=TINY, resume=True)

    message = re.sub(r"lock \d+ s", "lock S s", str(refusal.value))
    assert message == (
        f"{tmp_path}: in use by process 77 on line3, which last renewed its lock S s ago. Wait until that process ends, or "
        f"give another --out. If it has already ended, delete {tmp_path / LOCK}, or wait: a lock expires 600 s "
        "after it was last renewed."
    )


@pytest.mark.parametrize("resume", [False, True])
def test_a_file_in_the_runs_place_is_refused_and_stays(resume: bool, log: Log, tmp_path: Path) -> None:
    taken = tmp_path / "afile"
    taken.write_text("mine")

    with pytest.raises(
        TrainingError, match=r"afile: expected a folder for the run, got a file\. Give another --out\.$"
    ):
        train("window_vae", log, taken, settings=TINY, resume=resume)

    assert taken.read_text() == "mine"


def test_a_run_that_an_older_andon_left_is_resumed_and_observed_as_it_was(tmp_path: Path) -> None:
    """Check a run made by andon 0.1.0 before its options were structs: seed 7, stopped after two of four epochs."""
    left = Path(__file__).parent / "golden" / "interrupted"
    for name in (RUN, STATE):
        (tmp_path / name).write_bytes((left / name).read_bytes())
    done = kept_history(tmp_path)

    resumed = train("window_vae", left / "log.csv", tmp_path, resume=True)

    assert resumed.record.history[:2] == done
    assert len(resumed.record.history) == 4
    assert (resumed.record.seed, resumed.record.threads) == (7, 1)
    assert (tmp_path / "pictures" / "epoch_0003.png").exists()
    assert kept_epochs(tmp_path) == [4]
    assert [path.name for path in (tmp_path / "reel").glob("epoch_*")] == ["epoch_0004.safetensors"]
    assert read_record(tmp_path) == resumed.record
