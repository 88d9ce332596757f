"""The nearest good patches of a rejected frame: from a run folder and its data, for files of this run only."""

import shutil
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tests.cli.conftest import write_picture
from tests.training.flat import train

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.cli import EXIT_DONE, EXIT_USER, main
from andon.drawing.explanation_sheet import VIEW, explanation_sheet
from andon.foundation.errors import ConfigError, DataError
from andon.runtime import Detector, Status
from andon.runtime.schema import FrameSpec
from andon.sources.pictures.decode import decode_file
from andon.training.contract.synthetic_data import synthetic_frame
from andon.training.detectors.patchcore import RECIPE, Settings
from andon.training.explanation.good_patches import GoodPatches, _view, peaks
from andon.training.observers.epochs import NONE
from andon.training.runs.export_run import export_run
from andon.training.runs.run_folder import LoadedRun

SETTINGS = Settings(preset="fast", size=96, taps=(2, 4), memory_mb=0.05, candidates=1500)


class Line(NamedTuple):
    """A trained run, its file, its good parts and one part with a scratch."""

    run: LoadedRun
    file: Path
    data: Path
    scratched: Path


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> Line:
    root = tmp_path_factory.mktemp("line")
    for number in range(24):
        write_picture(root / f"data/train/good/{number:02}.png", synthetic_frame(number, (96, 96))[:, :, ::-1])
    scratched = synthetic_frame(1000, (96, 96))
    scratched[70:74, 15:30] = 0
    write_picture(root / "parts/scratched.png", scratched[:, :, ::-1])
    write_picture(root / "parts/fine.png", synthetic_frame(1001, (96, 96))[:, :, ::-1])
    run = train(RECIPE, root / "data", root / "run", settings=SETTINGS, picture_epochs=NONE)
    request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02")
    export_run(run, root / "line.onnx", request=request)
    return Line(run, root / "line.onnx", root / "data", root / "parts/scratched.png")


def test_the_hot_places_are_on_the_scratch_and_the_good_places_come_from_the_pictures_they_name(line: Line) -> None:
    detector = Detector.load(line.file)
    frame = decode_file(line.scratched)
    verdict = detector(frame)

    places = GoodPatches(line.run, detector).places(frame, verdict)

    assert verdict.status is Status.REJECT
    top, left, bottom, right = places[0].box
    assert top < 72 < bottom
    assert left < 30
    assert right > 15
    np.testing.assert_array_equal(places[0].picture, frame[top:bottom, left:right])
    assert [place.share for place in places] == sorted((place.share for place in places), reverse=True)
    assert all(place.share > 1 for place in places)
    for view in places[0].good:
        assert view.name in line.run.split.train
        good = decode_file(line.data / view.name)
        squares = np.lib.stride_tricks.sliding_window_view(good, view.picture.shape)
        assert (squares == view.picture).all(axis=(3, 4, 5)).any()
    # the distances of the layers add up to the map; the map is smoothed
    assert sum(view.share for view in places[0].good) == pytest.approx(places[0].share, rel=0.4)


def test_the_command_writes_a_sheet_for_each_reject_and_for_nothing_else(line: Line, tmp_path: Path) -> None:
    words = ["score", str(line.file), str(line.scratched.parent), "--explain", str(tmp_path / "why")]

    assert main([*words, "--run", str(line.run.path)]) == EXIT_DONE

    assert [path.name for path in (tmp_path / "why").iterdir()] == ["scratched.png"]
    assert decode_file(tmp_path / "why/scratched.png").shape[1] > 3 * VIEW


@pytest.mark.parametrize("flags", [["--explain", "why"], ["--run", "run"], ["--data", "data"]])
def test_the_flags_of_an_explanation_are_given_together(
    flags: list[str], line: Line, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["score", str(line.file), str(line.scratched), *flags]) == EXIT_USER

    assert "--explain DIR and --run RUN together" in capsys.readouterr().err


def test_good_parts_that_were_moved_are_found_at_their_new_location(line: Line, tmp_path: Path) -> None:
    shutil.copytree(line.data, tmp_path / "moved")
    detector = Detector.load(line.file)
    frame = decode_file(line.scratched)

    here = GoodPatches(line.run, detector).places(frame, detector(frame))
    there = GoodPatches(line.run, detector, data=tmp_path / "moved").places(frame, detector(frame))

    assert [view.name for view in here[0].good] == [view.name for view in there[0].good]
    np.testing.assert_array_equal(here[0].good[0].picture, there[0].good[0].picture)


def test_a_missing_good_part_is_named(line: Line, tmp_path: Path) -> None:
    shutil.copytree(line.data, tmp_path / "moved")
    detector = Detector.load(line.file)
    frame = decode_file(line.scratched)
    patches = GoodPatches(line.run, detector)
    name = patches.places(frame, detector(frame))[0].good[0].name
    (tmp_path / "moved" / name).unlink()

    with pytest.raises(DataError, match=f"{name}: this good part of the training is missing"):
        GoodPatches(line.run, detector, data=tmp_path / "moved").places(frame, detector(frame))


def test_a_detector_without_patches_is_refused_with_those_that_have_them(line: Line) -> None:
    without = msgspec.structs.replace(line.run, recipe=msgspec.structs.replace(RECIPE, nearest=None))

    with pytest.raises(ConfigError, match=r"does not compare frames with patches.*Detectors that do: patchcore"):
        GoodPatches(without, Detector.load(line.file))


def test_a_run_with_other_good_parts_is_refused(line: Line) -> None:
    other = msgspec.structs.replace(line.run, record=msgspec.structs.replace(line.run.record, fingerprint="another"))

    with pytest.raises(ConfigError, match=r"exported from, got .*another training"):
        GoodPatches(other, Detector.load(line.file))


def test_a_run_that_computes_another_map_is_refused(line: Line) -> None:
    detector = Detector.load(line.file)
    frame = decode_file(line.scratched)
    verdict = detector(frame)
    other = msgspec.structs.replace(verdict, evidence={"anomaly_map": 1.1 * verdict.evidence["anomaly_map"]})

    with pytest.raises(ConfigError, match=r"exported from, got .*another training"):
        GoodPatches(line.run, detector).places(frame, other)


@pytest.mark.parametrize("shape", [(96, 96, 3), (60, 200, 3), (900, 120, 1)])
def test_a_sheet_has_room_for_frames_of_any_shape(line: Line, shape: tuple[int, int, int]) -> None:
    detector = Detector.load(line.file)
    frame = decode_file(line.scratched)
    verdict = detector(frame)
    places = GoodPatches(line.run, detector).places(frame, verdict)

    sheet = explanation_sheet("x" * 300, np.full(shape, 90, np.uint8), verdict, detector.card, places)

    assert sheet.dtype == np.uint8
    assert sheet.shape[1] >= 3 * VIEW


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.floats(0, 2, width=32)),
    st.floats(0.05, 1.5),
)
def test_peaks_are_above_the_limit_ordered_and_apart(heat: NDArray[np.float32], apart: float) -> None:
    found = peaks(heat, 1.0, apart=apart)

    assert found[0].value == heat.max()
    assert all(peak.value > 1 for peak in found[1:])
    values = [peak.value for peak in found]
    assert values == sorted(values, reverse=True)
    for number, peak in enumerate(found):
        for other in found[:number]:
            assert max(abs(peak.y - other.y), abs(peak.x - other.x)) >= apart - 1e-6


@given(
    height=st.integers(16, 120),
    width=st.integers(16, 120),
    y=st.floats(0, 1),
    x=st.floats(0, 1),
    side=st.floats(0.01, 2),
    crop=st.sampled_from([(0.0, 0.0, 1.0, 1.0), (0.25, 0.5, 0.75, 1.0)]),
)
def test_a_view_stays_within_what_the_network_sees(
    *, height: int, width: int, y: float, x: float, side: float, crop: tuple[float, float, float, float]
) -> None:
    frame = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)

    square, cell, box = _view(frame, FrameSpec(channels=3, size=(32, 32), crop=crop), (y, x), side, (6, 6))

    top, left, bottom, right = box
    np.testing.assert_array_equal(square, frame[top:bottom, left:right])
    assert square.size
    assert top >= height * round(10_000 * crop[1]) // 10_000
    assert left >= width * round(10_000 * crop[0]) // 10_000
    assert bottom <= height * round(10_000 * crop[3]) // 10_000
    assert right <= width * round(10_000 * crop[2]) // 10_000
    assert 0 <= cell[0] <= cell[2] <= square.shape[0]
    assert 0 <= cell[1] <= cell[3] <= square.shape[1]
