"""Pictures of reconstructions during training: their epochs, their parts, and when there is nothing to draw."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from torch import Generator, Tensor, nn

from andon.export.evidence import Evidence
from andon.runtime.schema import Channel, FrameSpec, InputSpec, ScoreRule, WindowSpec
from andon.training.observers.epochs import NONE, Epochs, just
from andon.training.observers.reconstructions import ReconstructionPictures, choose_parts
from andon.training.observers.watching import Labelled

FRAMES = FrameSpec(channels=3, size=(16, 24))
WINDOWS = WindowSpec(steps=12, hop=4, period_s=0.1, channels=(Channel(name="a", center=5.0, scale=2.0),))


class Rows:
    """A part of the data, held in memory."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, places: Sequence[int]) -> Tensor:
        return self.rows[list(places)]

    def batches(self, size: int, *, shuffle: Generator | None = None) -> Iterator[Tensor]:
        yield from torch.split(self.rows, size)


class Parts:
    """Good parts by use."""

    def __init__(self, train: Tensor, validation: Tensor) -> None:
        self.train, self.validation = Rows(train), Rows(validation)


class Copy(nn.Module):
    """A scorer that reconstructs most of its input, or gives no reconstruction."""

    def __init__(self, *, rebuilds: bool = True, factor: float = 0.9) -> None:
        super().__init__()
        self.rebuilds, self.factor = rebuilds, factor

    def forward(self, prepared: Tensor) -> Evidence:
        rebuilt = self.factor * prepared
        error = (prepared - rebuilt).abs()
        error = error.mean(dim=1) if prepared.dim() == 4 else error
        return Evidence({"error": error}, {}, {"reconstruction": rebuilt} if self.rebuilds else {})


def pictures(folder: Path, spec: InputSpec = FRAMES, epochs: Epochs | None = None) -> ReconstructionPictures:
    shape = (3, *spec.size) if isinstance(spec, FrameSpec) else (spec.steps, 1)
    good = Parts(torch.rand(20, *shape), torch.rand(9, *shape))
    return ReconstructionPictures(folder, good, spec, ScoreRule(map="error"), device=torch.device("cpu"), epochs=epochs)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("spec", [FRAMES, WINDOWS], ids=["frames", "windows"])
def test_chosen_epochs_and_the_kept_weights_are_drawn(spec: InputSpec, tmp_path: Path) -> None:
    pages = pictures(tmp_path, spec, epochs=just(2, 4))
    for epoch in range(1, 6):
        pages.after_epoch(Copy(), epoch)
    pages.after_training(Copy(), 3)

    assert names(tmp_path) == ["epoch_0002.png", "epoch_0004.png", "kept.png"]


def test_unless_asked_for_the_epochs_are_ever_further_apart(tmp_path: Path) -> None:
    pages = pictures(tmp_path)
    for epoch in range(1, 13):
        pages.after_epoch(Copy(), epoch)

    assert names(tmp_path) == ["epoch_0001.png", "epoch_0003.png", "epoch_0010.png"]


def test_no_epochs_mean_no_picture(tmp_path: Path) -> None:
    pages = pictures(tmp_path, epochs=NONE)
    pages.after_epoch(Copy(), 1)
    pages.after_training(Copy(), 1)

    assert names(tmp_path) == []


def test_a_detector_that_does_not_rebuild_has_no_picture(tmp_path: Path) -> None:
    pages = pictures(tmp_path)
    pages.after_epoch(Copy(rebuilds=False), 1)
    pages.after_training(Copy(rebuilds=False), None)

    assert names(tmp_path) == []


def test_what_is_not_finite_is_not_drawn_and_that_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pictures(tmp_path).after_epoch(Copy(factor=float("nan")), 1)

    assert names(tmp_path) == []
    assert "epoch_0001.png: not drawn" in caplog.text


def test_the_scorer_is_put_back_to_learning(tmp_path: Path) -> None:
    scorer = Copy().train()
    pictures(tmp_path).after_epoch(scorer, 1)

    assert scorer.training


def test_maps_are_measured_by_what_good_validation_parts_show_with_these_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    titles = []
    monkeypatch.setattr(
        "andon.training.observers.reconstructions.save",
        lambda figure, _path: titles.append(" ".join(figure.texts[0].get_text().split())),
    )
    pages = ReconstructionPictures(
        tmp_path,
        Parts(torch.full((20, 3, 16, 24), 0.9), torch.full((9, 3, 16, 24), 0.5)),
        FRAMES,
        ScoreRule(map="error"),
        device=torch.device("cpu"),
    )

    pages.after_epoch(Copy(factor=0.6), 1)
    pages.after_epoch(Copy(factor=0.9), 3)

    assert titles == [
        f"map: 1 is {share}, the 99.9 % quantile over the cells of 9 good validation parts" for share in ("0.2", "0.05")
    ]


def numbered(count: int, shape: tuple[int, ...]) -> Tensor:
    return torch.arange(float(count)).reshape(-1, *(1 for _ in shape)).expand(count, *shape)


def numbers(prepared: Tensor) -> list[float]:
    return prepared.flatten(1)[:, 0].tolist()


def test_a_training_part_and_three_validation_parts_some_way_apart_are_shown() -> None:
    prepared, captions = choose_parts(Parts(100 + numbered(5, (3, 4, 4)), numbered(11, (3, 4, 4))), None, windows=False)

    assert numbers(prepared) == [100, 0, 5, 10]
    assert captions == ["good (training)", *["good (validation)"] * 3]


def test_training_parts_are_shown_where_there_is_no_validation_part() -> None:
    prepared, captions = choose_parts(Parts(numbered(2, (8, 1)), numbered(0, (8, 1))), None, windows=True)

    assert numbers(prepared) == [0, 1]
    assert captions == ["good (training)"] * 2


@pytest.mark.parametrize(("windows", "kinds"), [(False, "abcd"), (True, "a")])
def test_where_parts_are_watched_a_good_one_and_one_defect_of_each_kind_are_shown_too(
    windows: bool, kinds: str
) -> None:
    watched = Labelled(100 + numbered(11, (8, 1)), ("good", *"aabbccddee"))
    prepared, captions = choose_parts(Parts(50 + numbered(5, (8, 1)), numbered(5, (8, 1))), watched, windows=windows)

    common = ["good (training)", "good (validation)", "good (watched)"]
    assert captions == common + [f"{kind} (watched)" for kind in kinds]
    assert numbers(prepared) == [50, 0, 100, *(101 + 2 * place for place in range(len(kinds)))]


def test_where_few_parts_are_watched_validation_parts_fill_the_page() -> None:
    watched = Labelled(100 + numbered(1, (8, 1)), ("a",))
    prepared, captions = choose_parts(Parts(50 + numbered(5, (8, 1)), numbered(5, (8, 1))), watched, windows=True)

    assert numbers(prepared) == [50, 0, 4, 100]
    assert captions == ["good (training)", "good (validation)", "good (validation)", "a (watched)"]
