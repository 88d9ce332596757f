"""Real logs and a real GPU, if available."""

from pathlib import Path

import pytest
from tests.training.flat import train

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.runtime import Detector, Status
from andon.runtime.items import Item
from andon.training.contract.synthetic_data import SyntheticFrames
from andon.training.detectors.unet_autoencoder import Settings as UNetSettings
from andon.training.detectors.window_vae import Settings
from andon.training.runs.export_run import calibration_part, export_run


@pytest.mark.data
@pytest.mark.slow
def test_a_real_log_is_learnt_from_and_a_swapped_sensor_is_rejected(andon_data: Path, tmp_path: Path) -> None:
    settings = Settings(steps=60, hop=5, epochs=5)
    run = train("window_vae", andon_data / "skab" / "anomaly-free", tmp_path / "run", settings=settings)
    export_run(
        run,
        tmp_path / "pump.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
    )
    part = calibration_part(run)
    item = part.read(part.refs[0])
    assert isinstance(item, Item)
    detector = Detector.load(tmp_path / "pump.onnx")

    assert detector(item.data).status is Status.OK
    assert detector(item.data[:, ::-1].copy()).status is Status.REJECT


@pytest.mark.gpu
def test_a_run_in_mixed_precision_on_a_gpu_can_be_interrupted_and_exported(tmp_path: Path) -> None:
    settings = UNetSettings(size=32, narrow=4, epochs=4, learning_rate=3e-3)

    def stop(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("training", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(
            "unet_autoencoder", SyntheticFrames(60), tmp_path / "run", settings=settings, device="cuda", progress=stop
        )
    run = train("unet_autoencoder", SyntheticFrames(60), tmp_path / "run", resume=True)

    assert run.record.device == "cuda"
    assert len(run.record.history) == 4
    assert all(not parameter.is_cuda for parameter in run.scorer.parameters())
    export_run(
        run,
        tmp_path / "u.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
        data=SyntheticFrames(60),
    )
