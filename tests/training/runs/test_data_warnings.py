"""Warnings about the good parts of a training, in the log, in the record and in the summary."""

from pathlib import Path

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from tests.training.flat import train

from andon.calibration.promise import ladder_alpha
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.calibration.split import calibration_count
from andon.foundation.errors import DataError
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.mask_pixels import pack
from andon.runtime.schema import FrameSpec
from andon.sources.collection import FoundFrames
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_frame, synthetic_log
from andon.training.detectors.patchcore import Settings
from andon.training.recipe.tiling import tiles_for
from andon.training.runs.data_warnings import (
    FEW_TO_TRAIN,
    Suspect,
    few_parts,
    large_frames,
    mixed_sizes,
    suspicious,
)
from andon.training.runs.export_run import export_run
from andon.training.runs.record import read_record
from andon.training.runs.summary import findings

TINY = Settings(preset="fast", size=64, taps=(4,), memory_mb=0.05, candidates=1500)
SPEC = FrameSpec(channels=3, size=(384, 384))


def frames(size: tuple[int, int]) -> FoundFrames:
    return FoundFrames(channels=3, frame_size=size, largest=size)


def test_frames_of_several_sizes_lose_the_size_check() -> None:
    found = FoundFrames(channels=3, frame_size=None, largest=(80, 64), sizes=(((64, 96), 40), ((80, 64), 20)))
    warning = mixed_sizes(found)

    assert warning is not None
    assert "2 sizes (height x width: 40 of 64 x 96, 20 of 80 x 64)" in warning.text
    assert "accept frames of any size" in warning.text
    assert "--frame-size 64x96 uses these 40 frames" in warning.text
    assert mixed_sizes(frames((64, 96))) is None


@pytest.mark.parametrize(
    ("size", "warned"), [((512, 512), False), ((480, 640), False), ((1080, 1920), True), ((3000, 4096), True)]
)
def test_frames_far_larger_than_the_network_sees_are_warned_of(size: tuple[int, int], warned: bool) -> None:
    assert (large_frames(frames(size), SPEC, Settings(), cell=16) is not None) == warned


def test_the_warning_of_large_frames_states_what_a_cell_covers_and_what_helps() -> None:
    warning = large_frames(frames((1080, 1920)), SPEC, Settings(), cell=16)

    assert warning is not None
    assert "one pixel of the network covers about 5 x 5 pixels of the frame" in warning.text
    assert "one cell of its map 80 x 80" in warning.text
    assert "smaller than about 40 pixels" in warning.text
    assert "crop the frames to the part, or --preset fine, or --size" in warning.text


def test_a_remedy_that_is_already_used_is_not_offered() -> None:
    warning = large_frames(frames((3000, 4096)), SPEC, Settings(preset="fine"), cell=16)

    assert warning is not None
    assert "--preset" not in warning.text


def test_tiles_are_offered_with_their_cost_for_frames_of_one_size() -> None:
    warning = large_frames(frames((3000, 4096)), SPEC, Settings(), cell=16)
    mixed = FoundFrames(channels=3, frame_size=None, largest=(3000, 4096), sizes=(((3000, 4096), 4), ((80, 64), 2)))
    of_mixed = large_frames(mixed, SPEC, Settings(), cell=16)

    assert warning is not None
    assert "--tile auto would keep their detail: 9 x 12 tiles of 384 x 384 px" in warning.text
    assert "about 109 times as long" in warning.text
    assert of_mixed is not None
    assert "only if all frames have one size: --frame-size" in of_mixed.text


def test_tiles_that_a_mask_leaves_out_are_not_in_the_offered_cost() -> None:
    marked = np.zeros((3000, 4096), np.bool_)
    marked[:1500] = True

    warning = large_frames(frames((3000, 4096)), structs.replace(SPEC, ignore=pack(marked)), Settings(), cell=16)

    assert warning is not None
    assert "9 x 12 tiles of 384 x 384 px that overlap by 64 px, of which 60 have pixels that count" in warning.text
    assert "about 61 times as long" in warning.text


def test_frames_with_tiles_of_full_detail_are_not_warned_of() -> None:
    tiles = tiles_for("auto", (3000, 4096), SPEC.size)
    coarse = tiles_for("2x3", (3000, 4096), SPEC.size)
    found = frames((3000, 4096))

    assert large_frames(found, structs.replace(SPEC, tiles=tiles), Settings(tile="auto"), cell=16) is None
    warning = large_frames(found, structs.replace(SPEC, tiles=coarse), Settings(tile="2x3"), cell=16)
    assert warning is not None
    assert "the network sees 704 x 1024" in warning.text


@given(total=st.integers(20, 2000))
def test_few_parts_are_warned_of_exactly_if_the_promise_is_weak_or_training_parts_are_few(total: int) -> None:
    kept = calibration_count(total, 0.3)
    alpha = ladder_alpha(kept)
    warning = few_parts(total - kept, kept, share=0.3, grouped=False)

    assert (warning is None) == (total - kept >= FEW_TO_TRAIN and alpha is not None and alpha <= 0.05)


def test_the_warning_of_few_parts_states_the_promise_and_what_stricter_ones_need() -> None:
    warning = few_parts(17, 14, share=0.3, grouped=False)

    assert warning is not None
    assert "support a promise of at most 20 % false rejects" in warning.text
    assert (
        "5 % needs 59 (about 200 good parts in total), 1 % needs 299 (about 1000 good parts in total)" in warning.text
    )


def test_the_number_of_files_to_collect_is_not_stated_for_grouped_files() -> None:
    warning = few_parts(17, 14, share=0.3, grouped=True)

    assert warning is not None
    assert "5 % needs 59, 1 % needs 299" in warning.text


def test_suspicious_parts_are_named_with_what_was_done() -> None:
    found = [Suspect(key=f"{number}.png", times=3.0 - number / 10, left_out=True) for number in range(12)]
    left_out, used = suspicious(found, 100), suspicious([msgspec.structs.replace(found[0], left_out=False)], 100)

    assert left_out is not None
    assert used is not None
    assert "12 of 100 training parts look unlike" in left_out.text
    assert "0.png (3 times)" in left_out.text
    assert "and 2 more" in left_out.text
    assert "left out of the memory" in left_out.text
    assert "--suspects keep" in left_out.text
    assert "1 of 100 training parts looks" in used.text
    assert "were used" in used.text
    assert suspicious([], 100) is None


class OneIsBad(SyntheticFrames):
    """Good frames with one bad one."""

    bad = "007.png"

    def read(self, ref: Ref) -> Item | Lost:
        item = super().read(ref)
        if ref.key == self.bad and isinstance(item, Item):
            item.data[8:24, 8:24] = 0
        return item


def test_a_run_names_its_suspects_in_record_summary_and_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = OneIsBad(60)
    data.bad = train("patchcore", SyntheticFrames(60), tmp_path / "clean", settings=TINY).record.split.train[3]
    run = train("patchcore", data, tmp_path / "run", settings=TINY)
    record = read_record(tmp_path / "run")

    assert [suspect.key for suspect in record.suspects] == [data.bad]
    assert not record.suspects[0].left_out
    assert [warning.kind for warning in record.warnings] == ["few_parts", "suspects"]
    assert all(warning.text in caplog.text for warning in record.warnings)
    assert findings(run)["suspects"][0]["key"] == data.bad  # type: ignore[index]


def test_export_names_calibration_parts_that_score_far_above_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = OneIsBad(60)
    data.bad = train("patchcore", SyntheticFrames(60), tmp_path / "clean", settings=TINY).record.split.calibration[3]
    run = train("patchcore", data, tmp_path / "run", settings=TINY)
    request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02")
    exported = export_run(run, tmp_path / "a.onnx", request=request, data=data, scene=False)

    assert list(exported.outlying_parts) == [data.bad]
    assert f"calibration parts scores far above the others: {data.bad}" in caplog.text


def put(folder: Path, count: int, size: tuple[int, int], first: int = 0) -> None:
    folder.mkdir(exist_ok=True)
    for number in range(first, first + count):
        assert cv2.imwrite(str(folder / f"{number:03}.png"), np.asarray(synthetic_frame(number, size)))


def test_one_frame_size_of_a_mixed_folder_can_be_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    put(tmp_path / "parts", 30, (40, 56))
    put(tmp_path / "parts", 3, (56, 40), first=30)
    run = train("patchcore", str(tmp_path / "parts"), tmp_path / "run", settings=TINY, frame_size=(40, 56))
    request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02")
    exported = export_run(run, tmp_path / "a.onnx", request=request)

    assert run.record.other_sizes == ("030.png", "031.png", "032.png")
    assert run.record.frame_size == (40, 56)
    assert "3 of 33 frames have another size and are left out: 030.png, 031.png, 032.png" in caplog.text
    assert "mixed_sizes" not in [warning.kind for warning in run.record.warnings]
    assert exported.model.card.input.frame_size == (40, 56)  # type: ignore[union-attr]


def test_a_frame_size_that_no_frame_has_is_refused(tmp_path: Path) -> None:
    put(tmp_path / "parts", 20, (40, 56))

    with pytest.raises(DataError, match=r"--frame-size 56x40: expected frames of this size .*, got 40x56"):
        train("patchcore", str(tmp_path / "parts"), tmp_path / "run", settings=TINY, frame_size=(56, 40))


def test_a_frame_size_is_refused_for_logs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected frames, got sensor logs"):
        train("window_vae", synthetic_log(2000), tmp_path / "run", frame_size=(56, 40))
