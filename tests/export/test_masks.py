"""Ignore mask and region in the graph: pixels that do not count have no influence at all."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from numpy.typing import NDArray
from tests.export.toys import Edges, Frames
from torch import Tensor, nn

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.export.evidence import Evidence
from andon.export.export import export
from andon.export.graph import Pipeline
from andon.export.masks import LEAST_SHARE, FillIgnored, fill_value, judged_cells, judged_pixels
from andon.export.pooling import Pool, Smooth
from andon.export.preprocessing import PrepareFrames
from andon.foundation.errors import AndonError, DataError, InputError
from andon.runtime.detector import Detector
from andon.runtime.items import Item
from andon.runtime.mask_pixels import pack
from andon.runtime.schema import FrameSpec, Reason, ScoreRule, Status

SIZE = (60, 80)
RULE = ScoreRule(map="edges", pool="top", share=0.1, smooth=1.5)


def marked(top: int, bottom: int, left: int, right: int, size: tuple[int, int] = SIZE) -> NDArray[np.bool_]:
    pixels = np.zeros(size, np.bool_)
    pixels[top:bottom, left:right] = True
    return pixels


DATE = marked(5, 20, 10, 50)
SPEC = FrameSpec(channels=3, size=(32, 48), ignore=pack(DATE))


def noisy(frame: NDArray[np.uint8], where: NDArray[np.bool_], seed: int) -> NDArray[np.uint8]:
    changed = frame.copy()
    changed[where] = np.random.default_rng(seed).integers(0, 256, (int(where.sum()), 3))
    return changed


def frame(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3)).astype(np.uint8)


@settings(max_examples=40, deadline=None)
@given(
    size=st.tuples(st.integers(40, 300), st.integers(40, 300)),
    target=st.tuples(st.integers(8, 48), st.integers(8, 48)),
    corner=st.tuples(st.floats(0, 0.6), st.floats(0, 0.6)),
    way=st.tuples(st.sampled_from(["fast", "exact"]), st.booleans()),
    seed=st.integers(0, 99),
)
def test_pixels_that_do_not_count_never_change_what_the_network_sees(
    size: tuple[int, int], target: tuple[int, int], corner: tuple[float, float], way: tuple[str, bool], seed: int
) -> None:
    resize, cut = way
    top, left = round(corner[0] * size[0]), round(corner[1] * size[1])
    ignored = marked(top, top + size[0] // 4, left, left + size[1] // 4, size)
    spec = FrameSpec(
        channels=3,
        size=target,
        resize=resize,  # type: ignore[arg-type]
        crop=(0.1, 0.05, 0.95, 1.0) if cut else (0.0, 0.0, 1.0, 1.0),
        ignore=pack(ignored),
    )
    prepare = PrepareFrames(spec)
    before = frame(seed, size)

    one, other = (prepare(torch.from_numpy(pixels[None]))[0] for pixels in (before, noisy(before, ignored, seed + 1)))

    assert torch.equal(one, other)


def test_pixels_that_count_are_the_same_as_without_a_mask() -> None:
    raw = torch.from_numpy(frame(1)[None])
    with_mask, _ = PrepareFrames(SPEC)(raw)
    without, _ = PrepareFrames(replace(SPEC, ignore=None))(raw)
    judged = judged_pixels(SPEC)

    assert judged is not None
    assert torch.equal(with_mask[:, :, judged], without[:, :, judged])
    assert (with_mask[:, :, ~judged] == fill_value(SPEC)).all()
    assert 0.6 < float(judged.float().mean()) < 1 - DATE.mean()  # a border of the area is lost, too


def test_a_frame_is_without_contrast_if_only_ignored_pixels_have_some() -> None:
    flat = np.full((*SIZE, 3), 90, np.uint8)

    _, reason = PrepareFrames(SPEC)(torch.from_numpy(noisy(flat, DATE, 0)[None]))

    assert Reason(int(reason[0])) is Reason.NO_CONTRAST


def test_a_region_of_high_contrast_counts_in_a_large_flat_frame() -> None:
    region = marked(10, 30, 10, 30)
    flat = np.full((*SIZE, 3), 90, np.uint8)

    _, reason = PrepareFrames(replace(SPEC, ignore=None, region=pack(region)))(
        torch.from_numpy(noisy(flat, region, 0)[None])
    )

    assert Reason(int(reason[0])) is Reason.NONE


@pytest.mark.parametrize("shape", [(32, 48), (16, 24), (10, 7), (64, 96)])
def test_a_cell_counts_if_at_least_half_of_its_pixels_do(shape: tuple[int, int]) -> None:
    judged, cells = judged_pixels(SPEC), judged_cells(SPEC, shape)
    assert judged is not None
    assert cells is not None
    fine = judged.numpy().repeat(shape[0], axis=0).repeat(shape[1], axis=1)  # a slow reference
    shares = fine.reshape(shape[0], judged.shape[0], shape[1], judged.shape[1]).mean(axis=(1, 3))

    assert (cells.numpy() == (shares >= LEAST_SHARE - 1e-9)).all()


class Given(nn.Module):
    """A scorer whose map is a given one."""

    def __init__(self, values: Tensor) -> None:
        super().__init__()
        self.values = values

    def forward(self, prepared: Tensor) -> Evidence:
        return Evidence({"edges": self.values.expand(len(prepared), -1, -1)}, {})


@pytest.mark.parametrize("pool", ["mean", "max", "top"])
@pytest.mark.parametrize("smooth", [0.0, 1.5])
def test_the_score_and_the_heat_map_are_those_of_the_cells_that_count(pool: str, smooth: float) -> None:
    cells = judged_cells(SPEC, (16, 24))
    assert cells is not None
    rule = replace(RULE, pool=pool, smooth=smooth)
    cool = torch.rand(1, 16, 24, generator=torch.Generator().manual_seed(0))
    hot = torch.where(cells, cool, 1e6)

    one, other = (Pool(rule, SPEC)(Evidence({"edges": values}, {})) for values in (cool, hot))

    assert torch.equal(one["score"], other["score"])
    assert torch.equal(one["anomaly_map"], other["anomaly_map"])
    assert (one["anomaly_map"][:, ~cells] == 0).all()
    if not smooth:
        highest = cool[:, cells].sort(descending=True).values
        count = {"mean": int(cells.sum()), "max": 1, "top": round(0.1 * int(cells.sum()))}[pool]
        assert one["score"].item() == pytest.approx(highest[0, :count].mean().item(), rel=1e-5)


def test_smoothing_keeps_a_constant_map_constant_up_to_the_border_of_the_mask() -> None:
    cells = judged_cells(SPEC, (16, 24))
    assert cells is not None

    anomaly_map = Pool(RULE, SPEC)(Evidence({"edges": torch.ones(1, 16, 24)}, {}))["anomaly_map"]

    assert torch.allclose(anomaly_map[:, cells], torch.ones(()), atol=1e-5)


def test_without_masks_a_map_is_smoothed_and_pooled_as_before() -> None:
    values = torch.rand(2, 16, 24, generator=torch.Generator().manual_seed(1))

    outputs = Pool(RULE, replace(SPEC, ignore=None))(Evidence({"edges": values}, {}))

    assert torch.equal(outputs["anomaly_map"], Smooth(1.5)(values))


def test_the_fill_of_a_rebuilt_picture_leaves_no_error_where_pixels_do_not_count() -> None:
    prepared, _ = PrepareFrames(SPEC)(torch.from_numpy(frame(2)[None]))
    judged = judged_pixels(SPEC)
    assert judged is not None

    rebuilt = FillIgnored(SPEC)(torch.rand_like(prepared).requires_grad_())
    (prepared - rebuilt).abs().sum().backward()

    assert ((prepared - rebuilt)[:, :, ~judged] == 0).all()


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        (replace(SPEC, ignore=pack(~marked(3, 4, 3, 4))), DataError, "expected some pixels to judge, got none"),
        (replace(SPEC, region=pack(DATE)), DataError, "region and ignore mask leave less"),
    ],
    ids=["a dot", "region within the ignored pixels"],
)
def test_masks_that_cannot_be_used_are_refused(spec: FrameSpec, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        judged_pixels(spec)


def test_a_region_smaller_than_a_cell_is_refused() -> None:
    with pytest.raises(DataError, match="at least one cell of the map, 2 x 2 cells"):
        judged_cells(replace(SPEC, ignore=None, region=pack(marked(5, 15, 5, 15))), (2, 2))


@pytest.fixture(scope="module")
def detector(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    path = tmp_path_factory.mktemp("masks") / "model.onnx"
    request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-11-30")
    export(
        Pipeline(Edges(), SPEC, RULE, scene=True),
        Frames(30, size=SIZE),
        path,
        request=request,
        scene_parts=Frames(30, size=SIZE),
    )
    return Detector.load(path)


def good_frame(seed: int) -> NDArray[np.uint8]:
    parts = Frames(10_001, size=SIZE)
    item = parts.read(parts.refs[seed])
    assert isinstance(item, Item)
    return np.asarray(item.data, np.uint8)


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_ignored_pixels_never_change_the_verdict_of_a_file(detector: Detector, seed: int) -> None:
    before = good_frame(seed)

    one, other = detector(before), detector(noisy(before, DATE, seed + 1))

    assert one.status != Status.INVALID
    assert (one.score, one.status, one.reason) == (other.score, other.status, other.reason)
    assert (one.evidence["anomaly_map"] == other.evidence["anomaly_map"]).all()


def test_a_file_with_masks_names_them_and_keeps_their_frame_size(detector: Detector) -> None:
    spec = detector.card.input
    assert isinstance(spec, FrameSpec)

    assert spec.ignore == SPEC.ignore
    assert spec.frame_size == SIZE


def test_a_file_with_masks_refuses_another_frame_size_even_if_asked_for(detector: Detector, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(detector.model.data)
    free = Detector.load(tmp_path / "model.onnx", frame_size="any")

    with pytest.raises(
        InputError, match=r"expected frames of 60 x 80 .* the size of the file's ignore mask, got 80 x 60"
    ):
        free(frame(0, (80, 60)))


def test_the_golden_sample_of_a_file_with_masks_is_verified(detector: Detector) -> None:
    detector.verify()


def test_calibration_parts_of_another_size_are_left_out(tmp_path: Path) -> None:
    request = CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-11-30")
    with pytest.raises(AndonError, match="expected 60 x 80 pixels, got 50 x 80"):
        export(Pipeline(Edges(), SPEC, RULE), Frames(30, size=(50, 80)), tmp_path / "model.onnx", request=request)
