"""Curves of a training: panels, lines and labels."""

from pathlib import Path

import numpy as np
import pytest
from tests.training.drawn import assert_nothing_is_clipped, labels, legend

from andon.training.observers.curves import curves, save


def history(epochs: int, **further: float) -> list[dict[str, float]]:
    return [
        {
            "epoch": float(epoch),
            "train": 1 / epoch,
            "validation": 1.1 / epoch,
            "learning_rate": 1e-3,
            "gradient_norm": 2.0,
            "seconds": 0.5,
            "parts_per_s": 20.0,
            **further,
        }
        for epoch in range(1, epochs + 1)
    ]


def test_all_that_the_fit_told_is_drawn_and_labelled() -> None:
    figure = curves(history(5), kept=4)

    assert labels(figure) == ["loss", "gradient norm", "learning rate", "seconds an epoch"]
    assert legend(figure.axes[0]) == ["train", "validation", "kept: epoch 4"]
    assert_nothing_is_clipped(figure)


def test_scores_of_the_fit_share_a_panel_and_other_names_get_their_own() -> None:
    figure = curves(history(3, validation_auroc=0.9, drawn_ap=0.8, entropy=2.0))

    assert labels(figure)[-2:] == ["entropy", "scores"]
    assert legend(figure.axes[-1]) == ["validation AUROC", "drawn AP"]


def test_losses_of_nets_that_play_against_each_other_share_a_panel() -> None:
    figure = curves(history(3, discriminator_loss=1.2, generator_loss=0.8, encoder_loss=0.7, accuracy=0.6))

    assert labels(figure)[:2] == ["loss", "adversarial losses"]
    assert legend(figure.axes[1]) == ["discriminator loss", "generator loss", "encoder loss"]
    assert "accuracy" in labels(figure)
    assert_nothing_is_clipped(figure)


def test_watched_parts_are_drawn_apart_with_their_caption() -> None:
    rows = [{"epoch": 1.0, "auroc": 0.4}, {"epoch": 5.0, "auroc": 0.9}]
    caption = "watched, never used: 100 good, " + ", ".join(f"10 some_kind_of_damage_{kind}" for kind in range(10))
    figure = curves(history(6), kept=6, watched=rows, watched_caption=caption, kept_auroc=0.95)

    panel = figure.axes[-1]
    assert panel.get_title(loc="left").startswith("watched, never used: 100 good")
    assert list(np.asarray(panel.lines[0].get_xdata())) == [1.0, 5.0]
    assert legend(panel) == ["AUROC", "chance", "final weights: 0.950"]
    assert_nothing_is_clipped(figure)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param(history(1), id="one epoch"),
        pytest.param(history(60), id="many epochs"),
        pytest.param([{"train": -1.0}, {"train": -2.0}], id="losses below zero"),
        pytest.param([{"train": 0.0, "learning_rate": 0.0}] * 3, id="nothing but zeros"),
        pytest.param([{"train": 3e-7 * 10**epoch} for epoch in range(9)], id="nine powers of ten"),
    ],
)
def test_any_history_can_be_drawn(rows: list[dict[str, float]]) -> None:
    figure = curves(rows, kept=1)

    assert labels(figure)[0] == "loss"
    assert_nothing_is_clipped(figure)


def test_rows_without_train_or_validation_are_drawn_by_their_names() -> None:
    assert labels(curves([{"generator": 1.0}, {"generator": 0.9, "critic": 0.5}])) == ["generator", "critic"]


def test_a_saved_picture_is_a_png_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    save(curves(history(3)), tmp_path / "pictures" / "curves.png")

    assert [path.name for path in (tmp_path / "pictures").iterdir()] == ["curves.png"]
    assert (tmp_path / "pictures" / "curves.png").read_bytes().startswith(b"\x89PNG")
