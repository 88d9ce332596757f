"""MNIST and Fashion-MNIST as published: the official split and its known counts."""

import shutil
from pathlib import Path

import pytest

from andon.runtime.items import Item
from andon.runtime.schema import FrameSpec
from andon.sources.opening import good_for, labelled_for, shown
from andon.sources.source import collect

GREY = FrameSpec(channels=1, size=(28, 28))


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANDON_CACHE", str(tmp_path_factory.getbasetemp() / "class sets"))


@pytest.mark.data
def test_five_left_out_is_892_defects_among_10000_and_54579_good_pictures_to_learn_from(andon_data: Path) -> None:
    text = f"mnist:anomaly=5,root={andon_data / 'mnist'}"
    good = collect(text)
    tested, truth = labelled_for(text, GREY)

    assert len(good.refs) == 60_000 - 5_421  # type: ignore[union-attr]
    assert len(tested.refs) == 10_000
    assert sum(truth.defective[ref.key] for ref in tested.refs) == 892
    assert set(truth.kind.values()) == {"5"}
    item = tested.read(tested.refs[0])
    assert isinstance(item, Item)
    assert item.data.shape == (28, 28, 1)
    assert truth.defective["test/00008"]  # the first five of the test set


@pytest.mark.slow
@pytest.mark.data
def test_what_torchvision_has_in_the_cache_is_taken_from_there(
    andon_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANDON_CACHE", str(tmp_path))
    shutil.copytree(andon_data / "mnist", tmp_path / "mnist")  # as a download leaves it

    assert len(collect("mnist:normal=0,download=true").refs) == 5_923  # type: ignore[union-attr]
    assert (tmp_path / "mnist/MNIST/raw/train-images-idx3-ubyte").is_file()


@pytest.mark.data
def test_synthetic_defects_are_drawn_onto_good_test_pictures_only(andon_data: Path) -> None:
    assert len(good_for(f"mnist:normal=0,root={andon_data / 'mnist'}", GREY).refs) == 980


@pytest.mark.data
def test_clothes_go_by_name(andon_data: Path) -> None:
    text = f"fashion_mnist:normal=ankle_boot,root={andon_data / 'fashion_mnist'},outlier_share=0.1"
    tested, truth = labelled_for(text, GREY)

    assert len(collect(text).refs) == 6_000  # type: ignore[union-attr]
    assert sum(not truth.defective[ref.key] for ref in tested.refs) == 1_000
    assert len(tested.refs) == 1_111
    assert shown(text) == "fashion_mnist:normal=ankle_boot,outlier_share=0.1"
