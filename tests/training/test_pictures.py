"""Pictures of a training."""

from pathlib import Path

from andon.training.pictures import draw_losses


def history(epochs: int) -> list[dict[str, float]]:
    return [
        {"epoch": float(epoch), "train": 1 / epoch, "validation": 1.1 / epoch, "learning_rate": 1e-3}
        for epoch in range(1, epochs + 1)
    ]


def test_curves_become_a_png(tmp_path: Path) -> None:
    draw_losses(history(5), tmp_path / "pictures" / "losses.png")

    assert (tmp_path / "pictures" / "losses.png").read_bytes().startswith(b"\x89PNG")


def test_a_fit_without_epochs_has_no_curve(tmp_path: Path) -> None:
    draw_losses([], tmp_path / "losses.png")

    assert not (tmp_path / "losses.png").exists()


def test_losses_below_zero_can_be_drawn(tmp_path: Path) -> None:
    draw_losses([{"train": -1.0}, {"train": -2.0}], tmp_path / "losses.png")

    assert (tmp_path / "losses.png").exists()


def test_losses_of_other_names_than_train_and_validation_can_be_drawn(tmp_path: Path) -> None:
    draw_losses([{"generator": 1.0, "train": 2.0}, {"generator": 0.9, "train": 1.0}], tmp_path / "losses.png")

    assert (tmp_path / "losses.png").exists()
