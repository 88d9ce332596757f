"""Frames with 12 and 16 bits, from a folder of pictures to a verdict: as the same frames with 8 bits."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.cli.running import andon
from tests.training.flat import train

from andon.calibration.request import CalibrationRequest
from andon.evaluation.frames import evaluate
from andon.foundation.errors import DataError
from andon.monitor.judging import Outcome
from andon.monitor.web.pictures import live_picture
from andon.runtime.detector import Detector
from andon.runtime.items import Ref
from andon.runtime.judge import judge_items
from andon.runtime.schema import FrameSpec, Reason, Status
from andon.sources.opening import labelled_for
from andon.training.contract.synthetic_data import synthetic_frame
from andon.training.observers.epochs import NONE
from andon.training.runs.export_run import export_run

VERSIONS = {8: (1.0, np.uint8), 12: (4095 / 255, np.uint16), 16: (257.0, np.uint16)}
"""Factor and type by number of bits. All are PNG files of the same names, because the split depends on the names."""


class Made(NamedTuple):
    """A tree of pictures and the model file that was trained on it."""

    data: Path
    file: Path
    detector: Detector
    auroc: float | None


def spotted(seed: int) -> NDArray[np.uint8]:
    frame, generator = synthetic_frame(seed), np.random.default_rng(seed)
    row, column = generator.integers(4, 30, 2)
    frame[row : row + 4, column : column + 4] += 45
    return frame


def write_tree(root: Path, bits: int) -> None:
    factor, dtype = VERSIONS[bits]
    parts = [(f"train/good/{seed:03}", synthetic_frame(seed)) for seed in range(70)]
    parts += [(f"test/good/{seed:03}", synthetic_frame(500 + seed)) for seed in range(15)]
    parts += [(f"test/spot/{seed:03}", spotted(700 + seed)) for seed in range(15)]
    for key, frame in parts:
        path = root / f"{key}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), np.rint(frame[..., ::-1] * factor).astype(dtype))


def levels_of(encoded: bytes) -> NDArray[np.int64]:
    """Return the levels of a picture file, so that differences can be negative."""
    picture = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert picture is not None
    return picture.astype(np.int64)


class Versions:
    """The model file for each number of bits, trained on the same pictures when it is asked for first."""

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory
        self._made: dict[int, Made] = {}

    def __getitem__(self, bits: int) -> Made:
        if bits not in self._made:
            self._made[bits] = self._make(bits)
        return self._made[bits]

    def _make(self, bits: int) -> Made:
        root = self._factory.mktemp(f"bits{bits}")
        write_tree(root / "data", bits)
        run = train("pixel_knn", root / "data", root / "run", picture_epochs=NONE)
        export_run(run, root / "model.onnx", request=CalibrationRequest(date="2026-11-30"))
        detector = Detector.load(root / "model.onnx")
        assert isinstance(detector.card.input, FrameSpec)
        figures, _ = evaluate(detector, *labelled_for(str(root / "data"), detector.card.input), intervals=False)
        return Made(root / "data", root / "model.onnx", detector, figures.auroc)


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> Versions:
    """Return the model files by number of bits."""
    return Versions(tmp_path_factory)


@pytest.mark.parametrize(("bits", "white"), [pytest.param(12, 4095.0, marks=pytest.mark.slow), (16, 65535.0)])
def test_the_card_states_type_and_scale(versions: Versions, bits: int, white: float) -> None:
    spec = versions[bits].detector.card.input

    assert isinstance(spec, FrameSpec)
    assert (spec.dtype, spec.black, spec.white) == ("uint16", 0.0, white)
    assert f"levels      uint16 (10 to 16 bits per channel): 0 becomes grey level 0, {white:g} becomes 255" in (
        andon("inspect", versions[bits].file).stdout
    )


@pytest.mark.parametrize("bits", [pytest.param(12, marks=pytest.mark.slow), 16])
def test_more_bits_give_the_threshold_and_the_auroc_of_eight(versions: Versions, bits: int) -> None:
    assert versions[8].auroc is not None
    assert 0.6 < versions[8].auroc < 1.0  # a perfect score could hide a difference
    assert versions[bits].auroc == pytest.approx(versions[8].auroc, abs=0.005)
    assert versions[bits].detector.threshold == pytest.approx(versions[8].detector.threshold, rel=0.01)


def test_frames_of_the_other_depth_are_invalid_because_they_are_the_wrong_input(versions: Versions) -> None:
    for own, other in ((8, 16), (16, 8)):
        detector, foreign = versions[own].detector, versions[other]
        assert isinstance(foreign.detector.card.input, FrameSpec)
        collection, _ = labelled_for(str(foreign.data), foreign.detector.card.input)
        one = next(judge_items(detector, [collection.read(collection.refs[0])]))

        assert (one.verdict.status, one.verdict.reason) == (Status.INVALID, Reason.WRONG_INPUT)
        assert f"got {foreign.detector.card.input.dtype}" in one.detail


def test_a_training_folder_with_both_depths_is_refused(versions: Versions, tmp_path: Path) -> None:
    write_tree(tmp_path, 16)
    assert cv2.imwrite(str(tmp_path / "train/good/eight.png"), synthetic_frame(900))

    with pytest.raises(DataError, match="bits per channel: expected the same in all 71 pictures"):
        train("pixel_knn", tmp_path, tmp_path / "run", picture_epochs=NONE)


def test_overlays_and_live_pictures_look_as_with_eight_bits(versions: Versions, tmp_path: Path) -> None:
    pictures, live = {}, {}
    for bits in (8, 16):
        part = versions[bits].data / "test/spot/003.png"
        done = andon("score", versions[bits].file, part, "--overlay", tmp_path / str(bits))
        assert done.returncode in {0, 1}, done.stderr
        [path] = (tmp_path / str(bits)).rglob("*.png")
        pictures[bits] = levels_of(path.read_bytes())
        frame = np.rint(spotted(703) * VERSIONS[bits][0]).astype(VERSIONS[bits][1])
        detector = versions[bits].detector
        outcome = Outcome(
            seq=1, wall_s=0.0, ref=Ref(key="a"), unit="frame", verdict=detector(frame), data=frame, card=detector.card
        )
        jpeg = live_picture(outcome)
        assert jpeg is not None
        live[bits] = levels_of(jpeg)

    assert abs(pictures[16] - pictures[8]).max() <= 3
    assert abs(live[16] - live[8]).mean() <= 1


@pytest.mark.slow
def test_the_report_and_synthetic_defects_take_deep_frames(versions: Versions, tmp_path: Path) -> None:
    report = andon("evaluate", versions[16].file, "--data", versions[16].data, "--report", tmp_path / "report")
    synthetic = andon("evaluate", versions[16].file, "--data", versions[16].data, "--synthetic", "--json")

    assert report.returncode == 0, report.stderr
    assert synthetic.returncode == 0, synthetic.stderr
    assert '"auroc":0.' in synthetic.stdout
