"""The picture of the latent space: the parts on it, and when it is not drawn."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.training.in_memory import Parts
from torch import Tensor, nn

from andon.export.evidence import Evidence
from andon.training.observers.latent_plane import draw, latent_plane
from andon.training.observers.watching import Labelled

HERE = torch.device("cpu")


class Describes(nn.Module):
    """A scorer with two latent values: brightness, and its square."""

    def __init__(self, *, silent: bool = False) -> None:
        super().__init__()
        self.silent = silent
        self.judged = 0

    def forward(self, prepared: Tensor) -> Evidence:
        self.judged += len(prepared)
        bright = prepared.mean(dim=(1, 2, 3))
        return Evidence({}, {}, {}, {} if self.silent else {"latent": torch.stack([bright, bright**2], dim=1)})


def test_good_and_watched_parts_are_drawn(tmp_path: Path) -> None:
    good = Parts(torch.rand(9, 1, 8, 8), torch.rand(7, 1, 8, 8))
    watched = Labelled(torch.rand(5, 1, 8, 8), ("good", "good", "scratch", "scratch", "stain"))

    assert draw(Describes(), good, watched, tmp_path / "latent.png", device=HERE)

    assert (tmp_path / "latent.png").stat().st_size > 1000


def test_a_scorer_without_latent_numbers_has_no_such_picture(tmp_path: Path) -> None:
    good = Parts(torch.rand(9, 1, 8, 8), torch.rand(7, 1, 8, 8))

    scorer = Describes(silent=True)

    assert not draw(scorer, good, None, tmp_path / "latent.png", device=HERE)

    assert scorer.judged == 1
    assert list(tmp_path.iterdir()) == []


def test_two_latent_numbers_are_the_axes_and_kinds_are_counted_in_the_legend() -> None:
    clouds = {"good (validation)": np.array([[0.0, 1.0], [2.0, 3.0]], np.float32), "cut": np.ones((3, 2), np.float32)}

    figure = latent_plane(clouds)

    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("latent number 1", "latent number 2")
    assert np.asarray(axes.collections[0].get_offsets()).tolist() == [[0.0, 1.0], [2.0, 3.0]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["good (validation): 2", "cut: 3"]


def test_more_of_them_are_drawn_along_the_principal_axes_of_good_parts() -> None:
    along = np.linspace(-1, 1, 20, dtype=np.float32)
    good = np.stack([0 * along, 3 * along, along**2, 0 * along], axis=1)

    (axes,) = latent_plane({"good": good}).axes

    assert axes.get_xlabel().startswith("principal axis 1 of good parts (9")
    drawn = np.asarray(axes.collections[0].get_offsets())
    assert abs(drawn[:, 0]).tolist() == pytest.approx(abs(3 * along).tolist(), abs=1e-5)


def test_one_latent_number_is_a_line() -> None:
    (axes,) = latent_plane({"good": np.linspace(0, 1, 5, dtype=np.float32)[:, np.newaxis]}).axes

    assert np.ptp(np.asarray(axes.collections[0].get_offsets())[:, 1]) == 0
