"""Watched parts: how they are selected, when they are scored, and that the training does not depend on them."""

from collections import Counter
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.training.flat import train
from torch import Tensor, nn

from andon.calibration.split import Split
from andon.export.evidence import Evidence
from andon.foundation.errors import ConfigError, DataError, TrainingError
from andon.runtime.items import Ref
from andon.runtime.schema import Channel, FrameSpec, ScoreRule, WindowSpec
from andon.sources.opening import truth_of
from andon.sources.pictures.encode import write_png
from andon.sources.source import collect
from andon.training.contract.synthetic_data import synthetic_frame
from andon.training.observers.epochs import NONE, just
from andon.training.observers.watching import SHARE, Labelled, Watch, is_due, open_labelled, sample_parts
from andon.training.recipe.recipe import detectors, recipe
from andon.training.runs.record import read_record
from andon.training.runs.run_folder import LoadedRun, load

NOTHING_USED = Split(train=(), validation=(), calibration=())
SPEC = FrameSpec(channels=3, size=(16, 16))
CONVERTER = WindowSpec(
    steps=32, hop=32, period_s=0.1, channels=tuple(Channel(name=name) for name in ("voltage", "current", "temperature"))
)
FAULTY = "power_converter:seed=5,rows=8000,faults=3"


def write_tree(root: Path, *, good: str = "test/good", defects: str = "test", count: int = 6) -> Path:
    """Write a tree of rings. Rings with a stripe are defective."""
    for number in range(count):
        write_png(_made(root / good / f"{number:03}.png"), synthetic_frame(200 + number))
        for kind, rows in (("dent", slice(5, 9)), ("crack", slice(30, 32))):
            frame = synthetic_frame(300 + number)
            frame[rows] = 255
            write_png(_made(root / defects / kind / f"{number:03}.png"), frame)
    return root


def _made(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


class Brightness(nn.Module):
    """A scorer that gives the mean level. It has batch normalisation and dropout, so that a wrong mode is detected."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.BatchNorm2d(3).eval()
        self.norm = nn.BatchNorm2d(3)
        self.drop = nn.Dropout(0.5)

    def forward(self, prepared: Tensor) -> Evidence:
        seen = self.drop(self.norm(self.frozen(prepared)))
        return Evidence({"level": seen.mean(dim=1)}, {})


def labelled(count: int = 10) -> Labelled:
    """Return labelled parts. Bright parts are defective."""
    kinds = ("good", "bright") * (count // 2)
    levels = torch.tensor([0.9 if kind == "bright" else 0.1 for kind in kinds])
    return Labelled(levels.reshape(-1, 1, 1, 1) + 0.01 * torch.rand(count, 3, 16, 16), kinds)


def watch(**arguments: object) -> Watch:
    rule = ScoreRule(map="level", pool="mean")
    return Watch(labelled(), SPEC, rule, device=torch.device("cpu"), **arguments)  # type: ignore[arg-type]


def test_looking_says_how_well_good_and_bad_are_told_apart() -> None:
    row = watch().after_epoch(Brightness(), 1)

    assert row is not None
    assert (row["epoch"], row["auroc"]) == (1.0, 1.0)


def test_looking_leaves_modes_buffers_and_generators_as_they_were() -> None:
    scorer, looking = Brightness().train(), watch()
    scorer.frozen.eval()
    before = {name: tensor.clone() for name, tensor in scorer.state_dict().items()}
    generator = torch.get_rng_state()
    looking.after_epoch(scorer, 1)

    assert [module.training for module in scorer.modules()] == [True, False, True, True]
    assert all(torch.equal(before[name], tensor) for name, tensor in scorer.state_dict().items())
    assert torch.equal(torch.get_rng_state(), generator)


def test_scores_that_are_not_finite_give_no_row(caplog: pytest.LogCaptureFixture) -> None:
    scorer = Brightness()
    torch.nn.init.constant_(scorer.norm.weight, float("nan"))

    assert watch().after_epoch(scorer, 1) is None
    assert "not finite" in caplog.text


def test_every_third_epoch_and_the_first_are_watched_if_asked_for() -> None:
    due = [epoch for epoch in range(1, 10) if is_due(epoch, 3, trained_s=0.0, spent_s=9.0, cost_s=9.0)]

    assert due == [1, 3, 6, 9]


@given(epoch_s=st.floats(0.001, 100), cost_s=st.floats(0.001, 100), epochs=st.integers(1, 300))
def test_unless_asked_for_watching_takes_a_tenth_of_the_time_beyond_the_first_look(
    epoch_s: float, cost_s: float, epochs: int
) -> None:
    spent_s, known = 0.0, None
    for epoch in range(1, epochs + 1):
        if is_due(epoch, None, trained_s=epoch * epoch_s, spent_s=spent_s, cost_s=known):
            spent_s, known = spent_s + cost_s, cost_s

    assert spent_s >= cost_s
    assert spent_s - cost_s <= SHARE * epochs * epoch_s * (1 + 1e-9)


def test_only_time_between_looks_counts_as_training() -> None:
    now_s = 0.0

    class Slow(Brightness):
        def forward(self, prepared: Tensor) -> Evidence:
            nonlocal now_s
            now_s += 0.15  # and there are two batches
            return super().forward(prepared)

    looking, scorer, looked = watch(clock=lambda: now_s), Slow(), []
    for epoch in range(1, 13):
        now_s += 1.01
        if looking.after_epoch(scorer, epoch) is not None:
            looked.append(epoch)

    # watching an epoch costs .3 s, so the second needs 6 s of training in total, the third 9 s, the fourth 12 s
    assert looked == [1, 6, 9, 12]


@given(
    counts=st.dictionaries(st.sampled_from("abcd"), st.integers(1, 40), min_size=1),
    good=st.integers(1, 60),
    most=st.integers(2, 50),
)
def test_parts_are_drawn_half_good_and_evenly_by_kind(counts: dict[str, int], good: int, most: int) -> None:
    by_kind = {kind: [Ref(key=f"{kind}{n}") for n in range(count)] for kind, count in {**counts, "good": good}.items()}
    chosen = sample_parts(by_kind, most, seed=1)

    taken = Counter(kind for kind, _ in chosen)
    assert len({ref.key for _, ref in chosen}) == len(chosen) == min(most, good + sum(counts.values()))
    assert taken["good"] >= min(good, most // 2)
    assert taken.total() - taken["good"] >= min(sum(counts.values()), most // 2)
    left_over = [taken[kind] for kind, count in counts.items() if taken[kind] < count]
    assert not left_over or max(taken[kind] for kind in counts) <= min(left_over) + 1
    assert chosen == sample_parts(by_kind, most, seed=1)


def test_a_tree_without_a_training_part_can_be_watched(tmp_path: Path) -> None:
    parts = open_labelled(str(write_tree(tmp_path)), SPEC, NOTHING_USED)

    assert parts.counts == {"good": 6, "crack": 6, "dent": 6}
    assert list(parts.counts) == ["good", "crack", "dent"]
    assert parts.prepared.shape == (18, 3, 16, 16)
    assert parts.defective.sum() == 12


def test_good_beside_other_folders_can_be_watched(tmp_path: Path) -> None:
    parts = open_labelled(str(write_tree(tmp_path, good="good", defects=".")), SPEC, NOTHING_USED)

    assert parts.counts == {"good": 6, "crack": 6, "dent": 6}


def test_parts_that_are_learnt_from_choose_the_epoch_or_are_kept_for_calibration_are_not_watched(
    tmp_path: Path,
) -> None:
    root = write_tree(tmp_path, good="good", defects=".")
    used = Split(train=("good/000.png", "good/001.png"), validation=("good/002.png",), calibration=("good/003.png",))

    assert open_labelled(str(root), SPEC, used, data=str(root)).counts["good"] == 2
    assert open_labelled(str(root), SPEC, used, data="elsewhere").counts["good"] == 6


def test_a_class_set_can_be_watched_by_its_test_part(tmp_path: Path) -> None:
    root = write_tree(tmp_path, good="good", defects=".")
    text = f"classes:{root},normal=good"
    parts = open_labelled(text, SPEC, NOTHING_USED)
    good = next(key for key, bad in truth_of(text).defective.items() if not bad and key not in good_keys_of(text))
    splits = [
        Split(train=(good,), validation=(), calibration=()),
        Split(train=(), validation=(good,), calibration=()),
        Split(train=(), validation=(), calibration=(good,)),
    ]
    without = [open_labelled(text, SPEC, split, data=text).counts["good"] for split in splits]

    assert parts.counts == {"good": 2, "crack": 2, "dent": 2}
    assert without == [1, 1, 1]


def good_keys_of(text: str) -> set[str]:
    return {ref.key for ref in collect(text).refs}  # type: ignore[union-attr]


def test_a_tree_whose_good_parts_are_all_used_is_refused(tmp_path: Path) -> None:
    root = write_tree(tmp_path, good="good", defects=".")
    used = Split(train=tuple(f"good/{number:03}.png" for number in range(6)), validation=(), calibration=())

    with pytest.raises(DataError, match="that the run does not use, found no good part"):
        open_labelled(str(root), SPEC, used, data=str(root))


def test_unreadable_parts_are_left_out(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    (root / "test" / "dent" / "000.png").write_bytes(b"no picture")
    write_png(root / "test" / "dent" / "001.png", np.zeros((40, 56, 3), np.uint8))

    assert open_labelled(str(root), SPEC, NOTHING_USED).counts["dent"] == 4


def test_a_folder_without_kinds_is_refused(tmp_path: Path) -> None:
    write_png(_made(tmp_path / "a" / "0.png"), synthetic_frame(0))

    with pytest.raises(DataError, match="test/TYPE"):
        open_labelled(str(tmp_path), SPEC, NOTHING_USED)


def test_a_labelled_log_can_be_watched_by_fault() -> None:
    parts = open_labelled(FAULTY, CONVERTER, NOTHING_USED)

    assert set(parts.counts) == {"good", "voltage_spike", "current_oscillation", "temperature_drift"}
    assert parts.prepared.shape[1:] == (32, 3)


def test_the_log_that_is_learnt_from_and_one_without_faults_are_refused() -> None:
    with pytest.raises(DataError, match="got the training log"):
        open_labelled(FAULTY, CONVERTER, NOTHING_USED, data=FAULTY)
    with pytest.raises(DataError, match="no defective part"):
        open_labelled("power_converter:runs=3,rows=64", CONVERTER, NOTHING_USED)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a tree of good training parts and labelled test sets."""
    root = write_tree(tmp_path_factory.mktemp("watched"))
    for number in range(60):
        write_png(_made(root / "train" / "good" / f"{number:03}.png"), synthetic_frame(number))
    return root


def trained(name: str, tree: Path, out: Path, **arguments: object) -> LoadedRun:
    known = recipe(name)
    data = str(tree) if known.gives == "frame" else "power_converter:runs=60,rows=32"
    # a resumed run draws the same epochs as before
    pictures = {} if arguments.get("resume") else {"picture_epochs": NONE}
    arguments = {"settings": known.tiny} | pictures | arguments
    return train(known, data, out, device="cpu", threads=1, seed=3, **arguments)  # type: ignore[arg-type]


LIKE_ANOTHER = ("autoencoder", "conv_vae", "memory_vae")
"""Detectors trained by the same loop as unet_autoencoder."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name in LIKE_ANOTHER else []) for name in detectors()]
)
def test_the_weights_are_those_of_a_training_that_nobody_watched(name: str, tree: Path, tmp_path: Path) -> None:
    path = tree if recipe(name).gives == "frame" else FAULTY
    settings = recipe(name).tiny
    if hasattr(settings, "epochs"):
        settings = msgspec.structs.replace(settings, epochs=2)
    alone = trained(name, tree, tmp_path / "alone", settings=settings)
    watched = trained(
        name, tree, tmp_path / "watched", settings=settings, watch=path, watch_every=1, picture_epochs=just(1, 2)
    )

    expected, got = alone.scorer.state_dict(), watched.scorer.state_dict()
    assert [key for key in expected if not torch.equal(expected[key], got[key])] == []
    strip = ("seconds", "parts_per_s")
    rows = [
        [{k: v for k, v in row.items() if k not in strip} for row in run.record.history] for run in (alone, watched)
    ]
    assert rows[0] == rows[1]
    assert alone.record.watched is None
    record = watched.record.watched
    assert record is not None
    assert record.kept is not None
    assert [row["epoch"] for row in record.rows] == [row["epoch"] for row in watched.record.history]


def test_the_run_says_what_was_watched_apart_from_the_history(tree: Path, tmp_path: Path) -> None:
    trained("unet_autoencoder", tree, tmp_path, watch=tree, watch_every=1)
    record = read_record(tmp_path)

    assert record.watched is not None
    assert record.watched.path == str(tree)
    assert record.watched.parts == {"good": 6, "crack": 6, "dent": 6}
    assert not any("auroc" in name for row in record.history for name in row)
    assert load(tmp_path).record == record


def interrupted(tree: Path, folder: Path, **arguments: object) -> None:
    def stop(what: str, done: int, _total: int | None) -> None:
        if (what, done) == ("training", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained("window_vae", tree, folder, progress=stop, **arguments)


def test_an_interrupted_run_leaves_its_curves(tree: Path, tmp_path: Path) -> None:
    interrupted(tree, tmp_path)

    assert (tmp_path / "pictures" / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_resumed_run_goes_on_watching_what_it_watched(tree: Path, tmp_path: Path) -> None:
    interrupted(tree, tmp_path, watch=FAULTY, watch_every=1, picture_epochs=just(4))
    resumed = trained("window_vae", tree, tmp_path, resume=True)

    record = resumed.record.watched
    assert record is not None
    assert [row["epoch"] for row in record.rows] == [1.0, 2.0, 3.0, 4.0]
    assert resumed.record.picture_epochs == (4,)
    assert (tmp_path / "pictures" / "epoch_0004.png").exists()


def test_a_run_can_be_resumed_when_its_watched_parts_are_gone(
    tree: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = write_tree(tmp_path / "watched")

    def stop(what: str, _done: int, _total: int | None) -> None:
        if what == "training":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained("unet_autoencoder", tree, tmp_path / "run", watch=moved, watch_every=1, progress=stop)
    moved.rename(tmp_path / "elsewhere")
    resumed = trained("unet_autoencoder", tree, tmp_path / "run", resume=True)

    assert "continuing without watched parts" in caplog.text
    assert resumed.record.watched is not None
    assert [row["epoch"] for row in resumed.record.watched.rows] == [1.0]
    assert resumed.record.watched.kept is None


def test_resuming_with_other_watched_parts_is_refused(tree: Path, tmp_path: Path) -> None:
    interrupted(tree, tmp_path, watch=FAULTY)

    with pytest.raises(TrainingError, match="expected --watch power_converter"):
        trained("window_vae", tree, tmp_path, resume=True, watch="power_converter:seed=9,rows=8000,faults=3")


def test_an_interval_without_anything_to_watch_is_refused(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--watch PATH"):
        trained("window_vae", tree, tmp_path, watch_every=5)


def test_what_cannot_be_watched_is_refused_before_anything_is_learnt(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        trained("unet_autoencoder", tree, tmp_path / "run", watch=tmp_path)

    assert not (tmp_path / "run").exists()
