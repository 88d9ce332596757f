"""Tests that are specific to PatchCore: memory, candidates, presets."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.flat import train
from tests.training.in_memory import Parts, Remembering, Rows
from torch import Tensor

from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.evaluation.frames import evaluate
from andon.foundation.errors import ConfigError, DataError, TrainingError
from andon.foundation.settings import from_mapping
from andon.runtime import Detector
from andon.runtime.mask_pixels import pack
from andon.runtime.schema import FrameSpec, Tiles
from andon.sources.collection import FoundFrames
from andon.sources.opening import open_for
from andon.sources.truth import tree_truth
from andon.training.contract.synthetic_data import SyntheticFrames, synthetic_frame, synthetic_log
from andon.training.detectors.patchcore import (
    RECIPE,
    PatchCore,
    Settings,
    candidates_of,
    choose,
    draw,
    fit,
    nearest,
    plan_of,
    size_seen,
)
from andon.training.explanation.good_patches import GoodPatches
from andon.training.nets.core_set import k_centre
from andon.training.nets.patch_memory import CHUNK, FLOOR, NEIGHBOURS, PatchMemory, radii
from andon.training.runs.export_run import export_run
from andon.training.runs.record import write_record
from andon.training.runs.run_folder import LoadedRun, load

TINY = Settings(preset="fast", size=64, taps=(4,), memory_mb=0.02, candidates=600)


SPEC = FrameSpec(channels=3, size=(64, 64))


def memory(rows: Tensor, count: int, weight: float = 1.0, *, density: float = 1.0, soft: bool = False) -> PatchMemory:
    learnt = PatchMemory(rows.shape[1], soft=soft)
    selected = k_centre(rows, min(count, len(rows) // 2), seed=0)
    learnt.fit(rows, selected, weight=weight, density=density, seed=0)
    return learnt


def slow_distance(learnt: PatchMemory, asked: Tensor, density: float) -> Tensor:
    """Compute distances row by row in float64, up to one factor for all: a reference for the matrix product."""
    stored, _ = learnt.stored()
    asked = (asked.double() - learnt.get_buffer("center")) * learnt.get_buffer("scale")
    between = torch.cdist(stored.double(), stored.double(), compute_mode="donot_use_mm_for_euclid_dist")
    count = min(NEIGHBOURS, len(stored) - 1)
    radius = between.sort(dim=1).values[:, 1 : 1 + count].mean(dim=1) if count else torch.ones(1).double()
    lowest = radius.sort().values[int(0.05 * (len(radius) - 1))]
    highest = radius.sort().values[int(0.95 * (len(radius) - 1))]
    radius = radius.clamp(max=float(highest)).clamp(min=max(float(lowest), FLOOR))
    return torch.stack([((row - stored).norm(dim=1) / radius**density).amin() for row in asked])


@given(
    width=st.integers(1, 40),
    count=st.sampled_from([1, 2, 7, CHUNK, CHUNK + 1, 600]),
    offset=st.sampled_from([0.0, 100.0]),
    density=st.sampled_from([0.0, 0.5, 1.0]),
    seed=st.integers(0, 100),
)
def test_a_distance_is_the_smallest_one_scaled_by_the_density(
    width: int, count: int, offset: float, density: float, seed: int
) -> None:
    torch.manual_seed(seed)
    rows = torch.randn(1300, width) * torch.rand(1300, 1) + offset  # dense at the centre
    learnt = memory(rows, count, density=density)
    asked = torch.cat([torch.randn(40, width) + offset, rows[:20]])

    exact = slow_distance(learnt, asked, density)
    got = learnt.distance(asked).double()
    stored, factors = learnt.stored()
    unit = float((factors * radii(stored) ** density).mean())  # the factor that makes the mean of good rows 1

    assert learnt.get_buffer("bank").shape == (width + 2, count)
    scaled = (asked - learnt.get_buffer("center")) * learnt.get_buffer("scale")
    subtracted = float((scaled.norm(dim=1).max() * factors.max()) ** 2)  # size of what float32 subtracts
    assert torch.allclose(got.square(), (unit * exact).square(), rtol=2e-3, atol=2e-3 + 4e-6 * subtracted)


def test_the_same_distance_means_less_where_good_patches_vary() -> None:
    torch.manual_seed(0)
    rows = torch.cat([torch.randn(1000, 8) * 0.2, torch.randn(1000, 8) + 20.0])
    asked = torch.stack([torch.full((8,), 0.7), torch.full((8,), 20.0) + 2 * torch.eye(8)[0]])
    plain, scaled = PatchMemory(8), PatchMemory(8)
    for learnt, density in ((plain, 0.0), (scaled, 1.0)):
        learnt.fit(rows, torch.arange(0, 2000, 2), weight=1.0, density=density, seed=0)
    among_equals, varied = scaled.distance(asked) / plain.distance(asked)

    assert among_equals > 2 * varied


def test_a_single_odd_patch_among_the_good_hides_no_defects_around_it() -> None:
    torch.manual_seed(0)
    rows = torch.cat([torch.randn(1000, 8), torch.full((1, 8), 30.0)])
    learnt = memory(rows, 300)

    assert learnt.distance(torch.full((1, 8), 15.0)) > 5


def test_a_radius_is_never_so_small_that_float32_fails() -> None:
    twins = torch.cat([torch.zeros(50, 4), torch.randn(50, 4)])

    assert radii(twins).min() == pytest.approx(FLOOR)
    assert radii(torch.randn(1, 4)).tolist() == [1.0]


def test_a_row_that_is_remembered_is_no_distance_away() -> None:
    rows = torch.randn(400, 12)
    learnt = memory(rows, 200)
    remembered = learnt.stored()[0] / learnt.get_buffer("scale") + learnt.get_buffer("center")

    assert learnt.distance(remembered).max() < 0.02


def test_soft_length_sees_a_brighter_patch_as_nearer() -> None:
    torch.manual_seed(0)
    rows = torch.randn(600, 12) + 3.0
    plain, soft = (memory(rows, 200, soft=soft) for soft in (False, True))
    brighter = 3 * rows[:50]

    assert soft.distance(brighter).mean() < 0.5 * plain.distance(brighter).mean()


@pytest.mark.parametrize("weight", [0.25, 1.0])
def test_good_rows_that_were_not_kept_are_the_weight_apart_on_average(weight: float) -> None:
    """Check the scale of distances. Taps of different networks and depths can then be added."""
    rows = 300 * torch.randn(2000, 8)
    distances = memory(rows, 500, weight).distance(rows)

    assert float(distances[distances > 0.05 * weight].mean()) == pytest.approx(weight, rel=0.05)


def test_at_most_half_of_the_candidates_are_remembered() -> None:
    assert memory(torch.randn(31, 4), 1000).get_buffer("bank").shape == (6, 15)


def test_equal_rows_give_finite_distances() -> None:
    assert memory(torch.ones(20, 3), 5).distance(torch.tensor([[1.0, 1, 1], [2.0, 1, 1]])).isfinite().all()


def pictures(count: int) -> Tensor:
    return torch.randn((count, 3, 64, 64), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    ("count", "candidates", "expected"),
    [(5, 23, 23), (3, 2, 2), (2, 10_000, 2 * 64)],
    ids=["shared among pictures", "fewer than pictures", "fewer cells than wanted"],
)
def test_so_many_candidates_are_drawn_whatever_the_number_of_pictures(
    count: int, candidates: int, expected: int
) -> None:
    scorer = PatchCore(TINY, SPEC)
    run = Remembering()
    (first, origins), (second, _) = (draw(scorer, Rows(pictures(count)), candidates, run) for _ in range(2))

    assert [rows.shape for rows in first] == [(expected, 40)]
    assert torch.equal(first[0], second[0])
    assert origins[0].shape == (expected, 2)


def test_a_drawn_patch_states_its_picture_and_cell() -> None:
    scorer = PatchCore(TINY, SPEC).eval()
    parts = pictures(5)
    (rows,), (origins,) = draw(scorer, Rows(parts), 20, Remembering())
    (planes,) = scorer.features(parts)
    picture, cell = origins.long().T

    assert torch.allclose(rows, planes.flatten(2).transpose(1, 2)[picture, cell], atol=1e-5)


def test_features_that_are_not_finite_are_refused() -> None:
    scorer = PatchCore(TINY, SPEC)

    with pytest.raises(TrainingError, match="not finite"):
        draw(scorer, Rows(pictures(1) * torch.nan), 10, Remembering())


def test_the_memory_takes_its_budget_and_every_tap_as_many_rows() -> None:
    settings = Settings(preset="fast", size=64, taps=(2, 7), memory_mb=0.05, candidates=2000)
    scorer = PatchCore(settings, SPEC)
    fit(scorer, Parts(pictures(20), pictures(0)), settings, Remembering())
    banks = [learnt.get_buffer("bank") for learnt in scorer.memories]

    assert sum(4 * bank.numel() for bank in banks) == pytest.approx(50_000, rel=0.02)
    assert len({bank.shape[1] for bank in banks}) == 1


def fine_and_coarse(weights: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor]:
    """Return the map of two pictures, and the contribution of each tap, on the finest grid."""
    settings = Settings(size=64, taps=(4, 7), tap_weights=weights, memory_mb=0.02, candidates=400)
    torch.manual_seed(0)
    scorer = PatchCore(settings, SPEC)
    fit(scorer, Parts(pictures(8), pictures(0)), settings, Remembering())
    features = scorer.features(pictures(10)[8:])
    fine, coarse = (learnt(planes) for learnt, planes in zip(scorer.memories, features, strict=True))
    coarse = torch.nn.functional.interpolate(coarse[:, None], (8, 8), mode="bilinear")[:, 0]
    return scorer(pictures(10)[8:]).maps["distance"], fine, coarse


def test_the_map_is_the_weighted_mean_over_taps_on_the_finest_grid() -> None:
    whole, fine, coarse = fine_and_coarse((3.0, 1.0))
    _, half_fine, half_coarse = fine_and_coarse((1.0, 1.0))

    assert whole.shape == (2, 8, 8)
    assert torch.allclose(whole, fine + coarse)
    assert torch.allclose(fine, 1.5 * half_fine, rtol=1e-3, atol=1e-2)
    assert torch.allclose(coarse, 0.5 * half_coarse, rtol=1e-3, atol=1e-2)


def test_an_average_makes_a_cell_like_its_neighbours() -> None:
    plain, averaged = (PatchCore(Settings(size=64, taps=(4,), average=side), SPEC) for side in (1, 3))
    averaged.load_state_dict(plain.state_dict())
    (one,), (other,) = plain.features(pictures(1)), averaged.features(pictures(1))

    assert torch.allclose(other[0, :, 3, 3], one[0, :, 2:5, 2:5].mean(dim=(1, 2)), rtol=1e-4, atol=1e-5)
    assert torch.allclose(other[0, :, 0, 0], one[0, :, :2, :2].mean(dim=(1, 2)), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_the_file_shows_a_defect_where_it_is(tmp_path: Path) -> None:
    good = SyntheticFrames(60, (96, 96))
    settings = Settings(size=128, taps=(2, 4), memory_mb=0.1, candidates=4000)
    run = train(RECIPE, good, tmp_path / "run", settings=settings)
    export_run(
        run,
        tmp_path / "ring.onnx",
        request=CalibrationRequest(promise=PromiseRequest(no_promise=True), date="2026-01-02"),
        data=good,
    )
    detector = Detector.load(tmp_path / "ring.onnx")
    frame = synthetic_frame(1000, (96, 96))
    scratched = frame.copy()
    scratched[70:74, 15:30] = 0
    where = detector(scratched).evidence["anomaly_map"]

    assert detector(scratched).score > detector.threshold > detector(frame).score
    assert [int(place) * 96 // 32 for place in np.unravel_index(where.argmax(), where.shape)] == pytest.approx(
        [72, 22], abs=9
    )


def test_presets_fill_in_what_is_not_given() -> None:
    assert plan_of(Settings())[:4] == (384, (7, 10, 14), (1.0, 1.0, 1.0), 1.0)
    assert plan_of(Settings(preset="fast"))[:4] == (224, (7, 10), (1.0, 1.0), 0.5)
    assert plan_of(Settings(preset="fine"))[:2] == (512, (7, 10, 14))
    assert plan_of(Settings(density=0.0)).density == 0.0
    assert plan_of(Settings(taps=(4,))).tap_weights == (1.0,)
    assert plan_of(Settings(backbone="resnet18")).taps == (2, 3)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (Settings(taps=(4, 10), tap_weights=(1.0,)), "one for each of the 2 taps"),
        (Settings(taps=(10, 4)), "ascending numbers from 0 to 15"),
        (Settings(backbone="resnet18", taps=(7, 10)), "ascending numbers from 1 to 4"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused_before_data_are_read(settings: Settings, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        RECIPE.wanted_input(settings, SyntheticFrames(1).found)


SIZES = st.tuples(st.integers(1, 4000), st.integers(1, 4000))


@given(
    counts=st.dictionaries(SIZES, st.integers(1, 50), min_size=1, max_size=6), limit=st.sampled_from([224, 384, 512])
)
def test_the_size_follows_the_long_side_and_never_enlarges_frames(
    counts: dict[tuple[int, int], int], limit: int
) -> None:
    ordered = sorted(counts.items(), key=lambda pair: -pair[1])
    found = FoundFrames(
        channels=3,
        frame_size=ordered[0][0] if len(ordered) == 1 else None,
        largest=max(counts, key=lambda size: size[0] * size[1]),
        sizes=tuple(ordered) if len(ordered) > 1 else (),
    )
    median = np.percentile([max(size) for size, count in ordered for _ in range(count)], 50, method="inverted_cdf")

    size = size_seen(found, limit)

    assert size % 32 == 0
    assert 96 <= size <= limit
    assert size in (96, limit) or size <= median < size + 32
    assert size != limit or median >= limit


@pytest.mark.parametrize(
    ("settings", "frames", "expected"),
    [
        (Settings(), (1080, 1920), 384),
        (Settings(preset="fine"), (1080, 1920), 512),
        (Settings(), (136, 192), 192),
        (Settings(preset="fast"), (300, 300), 224),
        (Settings(), (40, 40), 96),
        (Settings(size=512), (136, 192), 512),
        (Settings(size=64), (1080, 1920), 64),
    ],
)
def test_an_explicit_size_wins(settings: Settings, frames: tuple[int, int], expected: int) -> None:
    found = FoundFrames(channels=3, frame_size=frames, largest=frames)
    spec = RECIPE.wanted_input(settings, found)

    assert isinstance(spec, FrameSpec)
    assert spec.size == (expected, expected)


def test_a_run_of_version_1_is_refused_with_what_to_do(tmp_path: Path) -> None:
    run = train(RECIPE, SyntheticFrames(30, (64, 64)), tmp_path / "run", settings=TINY)
    settings = {"preset": "fine", "gone": 1}  # need not fit the settings of today
    write_record(run.path, msgspec.structs.replace(run.record, recipe_version=1, settings=settings, andon="0.0.9"))

    with pytest.raises(
        TrainingError, match=r"version 2, got patchcore version 1, .*Train it again, or export it with andon 0\.0\.9"
    ):
        load(run.path)


def test_a_size_that_the_backbone_cannot_take_is_refused() -> None:
    with pytest.raises(ConfigError, match="multiple"):
        from_mapping(Settings, {"size": 100})


def test_smoothing_is_the_same_share_of_the_picture_at_every_size() -> None:
    specs = (FrameSpec(channels=3, size=(size, size)) for size in (256, 512))
    small, large = (RECIPE.score_rule(Settings(taps=(4,)), spec).smooth for spec in specs)

    assert small == pytest.approx(0.01 * 32)
    assert large == pytest.approx(2 * small)


def test_windows_are_refused() -> None:
    with pytest.raises(DataError, match="judges frames"):
        RECIPE.wanted_input(Settings(), synthetic_log(10).found)


def test_grey_pictures_are_judged_as_grey() -> None:
    spec = RECIPE.wanted_input(TINY, FoundFrames(channels=1, frame_size=(40, 56), largest=(40, 56)))
    assert isinstance(spec, FrameSpec)
    scorer = PatchCore(TINY, spec)
    fit(scorer, Parts(pictures(8)[:, :1], pictures(0)), TINY, Remembering())

    assert scorer(pictures(2)[:, :1]).maps["distance"].isfinite().all()


@pytest.mark.data
@pytest.mark.slow
def test_real_bottles_are_told_from_broken_ones(andon_data: Path, tmp_path: Path) -> None:
    folder = andon_data / "mvtec_ad" / "bottle"
    run = train(RECIPE, folder, tmp_path / "run", settings=Settings(preset="fast"))
    export_run(run, tmp_path / "bottle.onnx", request=CalibrationRequest(date="2026-01-02"))
    detector = Detector.load(tmp_path / "bottle.onnx")
    collection = open_for(str(folder), detector.card.input, part="evaluation")
    figures, _ = evaluate(detector, collection, tree_truth(folder))

    assert figures.auroc is not None
    assert figures.auroc >= 0.99
    assert figures.aupro is not None
    assert figures.aupro >= 0.92


def test_core_sets_that_are_chosen_side_by_side_leave_the_threads_as_they_were() -> None:
    class Slow(Remembering):
        @staticmethod
        def progress(_what: str, _done: int, _total: int | None) -> None:
            time.sleep(0.3)  # until the other one has started

    before = torch.get_num_threads()
    torch.set_num_threads(before + 1)
    try:
        choose([torch.rand(4, 3), torch.rand(20_000, 64)], 2000, Slow())  # the second one outlasts the first
        with ThreadPoolExecutor(
            1
        ) as later:  # a new thread uses the process's number of threads; the main thread may keep its own
            assert later.submit(torch.get_num_threads).result() == before + 1
        assert torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_each_stored_patch_knows_the_picture_and_the_cell_that_it_comes_from() -> None:
    good = pictures(12)
    scorer = PatchCore(TINY, SPEC)
    fit(scorer, Parts(good, pictures(0)), TINY, Remembering())
    memory = scorer.memories[0]
    assert isinstance(memory, PatchMemory)
    rows, _ = memory.stored()
    part, cell = memory.get_buffer("origin").long().T
    planes = scorer.features(good)[0].flatten(2).transpose(1, 2)

    own = (planes[part, cell] - memory.get_buffer("center")) * memory.get_buffer("scale")

    assert part.unique().numel() > 6
    torch.testing.assert_close(rows, own, rtol=1e-3, atol=1e-4)


def test_the_nearest_patches_are_those_that_the_map_is_made_of() -> None:
    good = pictures(12)
    scorer = PatchCore(TINY, SPEC)
    fit(scorer, Parts(good, pictures(0)), TINY, Remembering())
    frame = pictures(13)[12:]

    (found,) = nearest(scorer, frame)

    torch.testing.assert_close(found.distance, scorer(frame).maps["distance"][0], rtol=1e-4, atol=1e-5)
    planes = scorer.features(good)[0].flatten(2).transpose(1, 2)
    own = scorer.memories[0]
    assert isinstance(own, PatchMemory)
    again = own.distance(scorer.features(frame)[0].flatten(2).transpose(1, 2)[0])
    torch.testing.assert_close(found.distance.flatten(), again, rtol=1e-4, atol=1e-5)
    assert int(found.part.max()) < len(good)
    assert int(found.cell.max()) < planes.shape[1]


def test_the_model_file_does_not_contain_where_its_patches_come_from(tmp_path: Path) -> None:
    run = train(RECIPE, SyntheticFrames(30, (64, 64)), tmp_path / "run", settings=TINY)
    export_run(
        run, tmp_path / "file.onnx", request=CalibrationRequest(date="2026-01-02"), data=SyntheticFrames(30, (64, 64))
    )
    origin = load(run.path).scorer.state_dict()["memories.0.origin"]

    assert len(origin) > 1
    assert origin.numpy().tobytes() not in (tmp_path / "file.onnx").read_bytes()
    assert b".origin" not in (tmp_path / "file.onnx").read_bytes()


SUSPECTS = Settings(preset="fast", size=64, taps=(4,), memory_mb=0.05, candidates=1500)


def with_a_bad_one() -> Tensor:
    """Return similar pictures; the sixth has a bright square."""
    generator = torch.Generator().manual_seed(2)
    parts = torch.linspace(-1, 1, 64).expand(30, 3, 64, 64) + 0.1 * torch.randn((30, 3, 64, 64), generator=generator)
    parts[5, :, 16:40, 16:40] = 2.5
    return parts


@pytest.mark.parametrize("choice", ["leave_out", "keep"])
def test_a_bad_part_among_the_good_is_named_and_left_out_of_the_memory_on_request(choice: str) -> None:
    parts = with_a_bad_one()
    settings = msgspec.structs.replace(SUSPECTS, suspects=choice)
    torch.manual_seed(0)
    scorer, run = PatchCore(settings, SPEC), Remembering()
    fit(scorer, Parts(parts, parts[:0]), settings, run)
    worst = scorer(parts[[5, 6]]).maps["distance"].flatten(1).amax(dim=1)

    assert list(run.found_suspects) == [5]
    assert (worst[0] > 2 * worst[1]) == (choice == "leave_out")


def test_good_parts_without_a_bad_one_are_all_used() -> None:
    parts = with_a_bad_one()[6:]
    torch.manual_seed(0)
    one, other = PatchCore(SUSPECTS, SPEC), PatchCore(SUSPECTS, SPEC)
    other.load_state_dict(one.state_dict())
    run = Remembering()
    for scorer, choice in ((one, "keep"), (other, "leave_out")):
        fit(scorer, Parts(parts, parts[:0]), msgspec.structs.replace(SUSPECTS, suspects=choice), run)

    assert list(run.found_suspects) == []
    assert torch.equal(one(parts[:1]).maps["distance"], other(parts[:1]).maps["distance"])


def test_patches_of_cells_that_do_not_count_are_never_stored() -> None:
    """Draw all patches, and compare their origins with the cells that contribute to a counting cell of the map."""
    settings = Settings(preset="fast", size=64, taps=(4, 7), memory_mb=0.02, candidates=100_000)
    marked = np.zeros((64, 64), np.bool_)
    marked[:, 40:] = True
    spec = msgspec.structs.replace(SPEC, ignore=pack(marked))
    scorer = PatchCore(settings, spec).eval()
    pictures = torch.rand(3, 3, 64, 64)

    with torch.no_grad():
        _, origins = draw(scorer, Rows(pictures), 100_000, Remembering())

    columns = [sorted(set((origin[:, 1] % side).tolist())) for origin, side in zip(origins, (8, 4), strict=True)]
    assert columns == [[0, 1, 2, 3, 4], [0, 1, 2]]  # at stride 16, the third column ends at pixel 48, half of it counts


def test_with_tiles_patches_are_drawn_from_the_judged_cells_of_judged_tiles_in_proportion() -> None:
    settings = Settings(preset="fast", size=64, taps=(4, 7), memory_mb=0.02, candidates=600)
    marked = np.zeros((64, 160), np.bool_)
    marked[:, :80] = True  # of 4 tiles of 64 px: the first one, 48 px of the second one and 16 px of the third one
    tiles = Tiles(rows=1, columns=4, overlap=32, chunk=4)
    spec = msgspec.structs.replace(SPEC, ignore=pack(marked), frame_size=(64, 160), tiles=tiles)
    scorer = PatchCore(settings, spec).eval()

    with torch.no_grad():
        drawn, origins = draw(scorer, Rows(torch.rand(3 * 3, 3, 64, 64)), 192, Remembering())

    assert scorer.tiles == (1, 2, 3)
    assert scorer.judged is not None
    frame, cell = origins[0].T
    tile, column = cell // 64, cell % 8
    counts = [int((tile == number).sum()) for number in range(4)]
    assert sorted(set(frame.tolist())) == [0, 1, 2]
    assert counts == [0, 3 * 8, 3 * 24, 3 * 32]  # half of the cells that count
    assert set(column[tile == 1].tolist()) == {6, 7}
    assert len(drawn[0]) == sum(counts)


NO_PROMISE = CalibrationRequest(date="2026-11-30", promise=PromiseRequest(no_promise=True))
LARGE = (150, 220)
TILED = msgspec.structs.replace(TINY, tile="auto")


@pytest.fixture(scope="module")
def tiled_run(tmp_path_factory: pytest.TempPathFactory) -> LoadedRun:
    return train("patchcore", SyntheticFrames(30, LARGE), tmp_path_factory.mktemp("tiled") / "run", settings=TILED)


def test_with_tiles_each_stored_patch_names_its_frame_and_its_cell_in_a_tile(tiled_run: LoadedRun) -> None:
    tiles = tiled_run.spec.tiles if isinstance(tiled_run.spec, FrameSpec) else None
    assert tiles is not None
    assert isinstance(tiled_run.scorer, PatchCore)

    frame, cell = tiled_run.scorer.memories[0].get_buffer("origin").T

    assert (tiles.rows, tiles.columns, tiles.overlap) == (4, 6, 32)
    assert 0 <= int(frame.min()) <= int(frame.max()) < len(tiled_run.record.split.train)
    assert int(cell.max()) < 4 * 6 * 8 * 8
    assert int(cell.max()) > 8 * 8  # not all from the first tile


def test_tiles_are_stated_with_their_cost_before_training(tiled_run: LoadedRun) -> None:
    texts = [warning.text for warning in tiled_run.record.warnings if warning.kind == "tiles"]

    assert len(texts) == 1
    assert "4 x 6 tiles of 64 x 64 px that overlap by 32 px" in texts[0]
    assert "MB of memory" in texts[0]


def test_tiles_give_four_times_as_many_candidates_unless_their_number_is_given() -> None:
    assert (candidates_of(Settings(), 1), candidates_of(Settings(), 12)) == (30_000, 120_000)
    assert candidates_of(Settings(candidates=500), 12) == 500


def test_tiles_of_frames_of_several_sizes_are_refused() -> None:
    found = FoundFrames(channels=3, frame_size=None, largest=(80, 64), sizes=(((64, 96), 40), ((80, 64), 20)))

    with pytest.raises(DataError, match="--tile: expected frames of one size"):
        RECIPE.wanted_input(TILED, found)


def test_tiles_that_one_tile_would_replace_are_left_out() -> None:
    spec = RECIPE.wanted_input(TILED, FoundFrames(channels=3, frame_size=(64, 60), largest=(64, 60)))

    assert isinstance(spec, FrameSpec)
    assert spec.tiles is None


def test_fewer_cells_of_a_tile_than_of_a_whole_map_count_unless_the_share_is_given(tiled_run: LoadedRun) -> None:
    chosen = msgspec.structs.replace(TILED, share=0.1)

    assert RECIPE.score_rule(TILED, tiled_run.spec).share == 0.005
    assert RECIPE.score_rule(TINY, SPEC).share == 0.01
    assert RECIPE.score_rule(chosen, tiled_run.spec).share == 0.1


def test_watching_is_refused_with_tiles(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--watch: expected a training without tiles"):
        train("patchcore", SyntheticFrames(30, LARGE), tmp_path / "run", settings=TILED, watch=tmp_path)


@pytest.mark.slow
def test_a_spot_that_vanishes_in_the_reduced_frame_is_found_with_tiles(tiled_run: LoadedRun, tmp_path: Path) -> None:
    source, path = SyntheticFrames(30, LARGE), tmp_path / "tiled.onnx"
    export_run(tiled_run, path, request=NO_PROMISE, data=source)
    detector = Detector.load(path)
    good = [synthetic_frame(seed, LARGE) for seed in range(900, 903)]
    spots = [frame.copy() for frame in good]
    for frame in spots:
        frame[100:106, 150:156] = 255

    verdicts, of_spots = detector.batch(good), detector.batch(spots)

    assert max(one.score for one in verdicts) < min(one.score for one in of_spots)
    # the hottest cell of the map is at the spot
    row, column = np.unravel_index(of_spots[0].evidence["anomaly_map"].argmax(), (20, 28))
    assert abs(row / 20 - 103 / 150) < 0.1
    assert abs(column / 28 - 153 / 220) < 0.1
    for frame, together in zip(spots, of_spots, strict=True):
        alone = detector(frame)
        assert (alone.status, alone.score) == (together.status, together.score)
    with pytest.raises(ConfigError, match="--explain: expected a run without tiles"):
        GoodPatches(tiled_run, detector, data=source)
