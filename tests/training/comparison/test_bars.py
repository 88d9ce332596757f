"""The bar chart of a comparison: nothing is cut off, for any number and length of set and detector names."""

import cv2
import numpy as np
import pytest
from matplotlib.patches import Patch
from tests.training.comparison.made_up import key, result, standing
from tests.training.comparison.test_table import everything

from andon.drawing.style import png_of as png
from andon.training.comparison.bars import bars
from andon.training.comparison.results import CellStatus
from andon.training.comparison.table import table_of

LONG = "unet_autoencoder --repair --epochs 200 --narrow 2 --loss-l1 0.16 --loss-ms-ssim 0."


def made_up(sets: int, detectors: int, *, seeds: int = 2, aupro: bool = True) -> list[CellStatus]:
    keys = [
        key(f"{LONG}{detector}", f"a $set$ with_a very long name that goes on {number}", seed)
        for number in range(sets)
        for detector in range(detectors)
        for seed in range(seeds)
    ]
    figures = [{"auroc": 0.9 + 0.05 * of.seed} | ({"aupro": 0.7 + 0.1 * of.seed} if aupro else {}) for of in keys]
    return [standing(of, result(of, numbers)) for of, numbers in zip(keys, figures, strict=True)]


@pytest.mark.parametrize("aupro", [False, True])
@pytest.mark.parametrize(("sets", "detectors"), [(1, 1), (1, 8), (12, 2), (4, 9)])
def test_nothing_is_cut_off(sets: int, detectors: int, aupro: bool) -> None:
    figure = bars(table_of(made_up(sets, detectors, aupro=aupro)))
    assert figure is not None

    pixels = cv2.imdecode(np.frombuffer(png(figure), np.uint8), cv2.IMREAD_GRAYSCALE)

    assert pixels is not None
    border = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    assert border.min() == 255
    (legend,) = figure.legends
    assert len({text.get_text() for text in legend.get_texts()}) == detectors


def extent(bar: Patch) -> tuple[float, float]:
    """Return the lowest and highest value that a whisker covers."""
    box = bar.get_path().get_extents(bar.get_patch_transform())
    return box.x0, box.x1


def test_bars_are_the_means_and_whiskers_the_range_over_seeds() -> None:
    figure = bars(table_of(made_up(1, 1)))
    assert figure is not None

    auroc, aupro = figure.axes

    for axes, low, high, begins in ((auroc, 0.9, 0.95, 0.5), (aupro, 0.7, 0.8, 0.0)):
        assert extent(axes.patches[0]) == pytest.approx((begins, (low + high) / 2))
        (whisker,) = axes.collections
        assert np.asarray(whisker.get_paths()[0].vertices)[:, 0] == pytest.approx([low, high])


def test_one_seed_has_no_whiskers_and_parts_without_masks_no_second_panel() -> None:
    figure = bars(table_of(made_up(2, 2, seeds=1, aupro=False)))
    assert figure is not None

    (auroc,) = figure.axes
    assert not auroc.collections
    assert auroc.get_yticklabels()[-1].get_text() == "mean of 2 sets"


def test_worse_than_chance_reaches_to_the_other_side() -> None:
    figure = bars(table_of([standing(key(), result(key(), {"auroc": 0.3}))]))
    assert figure is not None

    (axes,) = figure.axes
    assert extent(axes.patches[0]) == pytest.approx((0.3, 0.5))
    assert axes.get_xlim()[0] < 0.3


def test_frames_and_windows_have_panels_of_their_own_with_their_own_detectors() -> None:
    figure = bars(table_of(everything()))
    assert figure is not None

    assert [axes.get_title(loc="left").partition(" (")[0] for axes in figure.axes] == [
        "AUROC", "AUPRO(.3)", "AUROC, mean of files",
    ]  # fmt: skip
    assert len(figure.axes[2].texts) == 1


def test_where_nothing_is_done_nothing_is_drawn() -> None:
    assert bars(table_of([standing(key())])) is None


def test_the_same_table_gives_the_same_picture() -> None:
    one, other = (bars(table_of(made_up(2, 2))) for _ in range(2))
    assert one is not None
    assert other is not None

    assert png(one) == png(other)
