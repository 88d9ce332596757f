"""Files of a run folder: loading them, and refusing damaged files or files of other runs."""

import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import msgspec
import pytest
import torch
from torch import nn

from andon.calibration.split import Split
from andon.export.preprocessing import PREPARATION
from andon.foundation.errors import TrainingError
from andon.foundation.progress import silent
from andon.runtime.schema import Channel, FrameSpec, WindowSpec
from andon.training.recipe.recipe import State, recipe
from andon.training.runs.fit_state import FolderContext, kept_history
from andon.training.runs.paths import MODEL, STATE, checkpoint
from andon.training.runs.record import RunRecord, check_recipe, read_record, read_settings, seal, write_record
from andon.training.runs.run_folder import load
from andon.training.runs.weights import load_state, write_weights

WINDOW = WindowSpec(steps=2, hop=1, period_s=1.0, channels=(Channel(name="a"), Channel(name="b")))


class Bank(nn.Module):
    """A scorer with a coreset whose size is known only after the fit."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.register_buffer("bank", torch.empty(0, 3))


def record(**changes: object) -> RunRecord:
    known = recipe("unet_autoencoder")
    base = RunRecord(
        recipe=known.name,
        recipe_version=known.version,
        andon="0.1.0",
        settings=msgspec.to_builtins(known.tiny),
        input=FrameSpec(channels=3, size=(32, 32)),
        preparation=PREPARATION,
        split=Split(train=("a",), validation=("b",), calibration=("c",)),
        fingerprint="f" * 64,
        seed=1,
        threads=1,
        device="cpu",
        history=({"epoch": 1.0, "train": 0.1},),
        finished=True,
    )
    return msgspec.structs.replace(base, **changes)


def stored(folder: Path, **changes: object) -> Path:
    written = record(**changes)
    write_record(folder, written)
    known = recipe("unet_autoencoder")
    write_weights(folder / "model.safetensors", known.build(known.tiny, written.input))
    return folder


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    write_record(tmp_path, record())

    assert read_record(tmp_path) == record()
    assert json.loads((tmp_path / "run.json").read_bytes())["input"]["kind"] == "frame"


def test_a_loaded_scorer_is_in_eval_mode_with_the_stored_weights(tmp_path: Path) -> None:
    run = load(stored(tmp_path))

    assert not run.scorer.training
    assert run.settings == recipe("unet_autoencoder").tiny
    assert run.split.calibration == ("c",)


def test_a_buffer_takes_its_stored_shape() -> None:
    fitted, fresh = Bank(), Bank()
    fitted.bank = torch.rand(5, 3)
    load_state(fresh, fitted.state_dict(), where="here")

    assert torch.equal(fresh.get_buffer("bank"), fitted.get_buffer("bank"))
    assert "bank" in dict(fresh.named_buffers())


def test_a_parameter_of_another_shape_is_refused() -> None:
    tensors = Bank().state_dict() | {"inner.weight": torch.zeros(3, 2)}

    with pytest.raises(TrainingError, match=r"here: weights do not fit this detector.*inner\.weight"):
        load_state(Bank(), tensors, where="here")


def test_another_version_of_the_recipe_by_this_very_andon_is_not_sent_back_to_it(tmp_path: Path) -> None:
    stored(tmp_path, recipe_version=7, andon=version("andon"))

    with pytest.raises(TrainingError, match=r"expected a run of unet_autoencoder version 2, .*\. Train it again\.$"):
        load(tmp_path)


def test_another_version_of_the_recipe_is_refused_naming_the_andon_that_wrote_it(tmp_path: Path) -> None:
    stored(tmp_path, recipe_version=7, andon="3.1.4")

    message = (
        r"version 2, got .* version 7, written by andon 3\.1\.4\. Train it again, or export it with andon 3\.1\.4\.$"
    )
    with pytest.raises(TrainingError, match=message):
        load(tmp_path)


def test_weights_trained_on_frames_of_an_older_preparation_are_refused(tmp_path: Path) -> None:
    stored(tmp_path, preparation=1, andon="0.0.9")

    message = r"preparation 2, got preparation 1, written by andon 0\.0\.9\..* Train it again, or export it with andon 0\.0\.9\.$"
    with pytest.raises(TrainingError, match=message):
        load(tmp_path)


def test_a_record_without_a_version_of_the_preparation_has_the_first_one(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    fields = json.loads((tmp_path / "run.json").read_bytes())
    del fields["preparation"]
    (tmp_path / "run.json").write_text(json.dumps(fields), encoding="utf-8")

    assert read_record(tmp_path).preparation == 1


def test_the_preparation_of_frames_does_not_matter_to_weights_for_windows() -> None:
    windows = record(recipe="pca", recipe_version=recipe("pca").version, input=WINDOW)

    check_recipe(msgspec.structs.replace(windows, preparation=1), recipe("pca"), Path("run"))
    assert seal(windows) == seal(msgspec.structs.replace(windows, preparation=1))


def test_an_unfinished_run_is_refused_with_the_way_to_go_on(tmp_path: Path) -> None:
    stored(tmp_path, finished=False)

    with pytest.raises(TrainingError, match=r"has not finished.*--resume"):
        load(tmp_path)


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"found no run\.json"):
        load(tmp_path / "nowhere")


def test_a_damaged_record_is_refused_with_the_place(tmp_path: Path) -> None:
    write_record(tmp_path, record())
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace('"seed": 1', '"seed": "one"'))

    with pytest.raises(TrainingError, match=r"\$\.seed"):
        read_record(tmp_path)


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    path = stored(tmp_path) / MODEL
    path.write_bytes(path.read_bytes()[:-100])

    with pytest.raises(TrainingError, match="expected a safetensors file"):
        load(tmp_path)


def test_settings_that_this_recipe_does_not_take_are_refused(tmp_path: Path) -> None:
    stored(tmp_path, settings={"size": 3})

    with pytest.raises(TrainingError, match=r"expected settings of unet_autoencoder: .*\$\.size"):
        load(tmp_path)


def run_in(folder: Path) -> FolderContext:
    return FolderContext(folder, seed=0, device=torch.device("cpu"), progress=silent)


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    scorer, run = nn.Linear(3, 3), run_in(tmp_path)
    kept = State({"rng": torch.get_rng_state(), "moment": torch.rand(4)}, {"rate": 0.1 + 0.2, "epoch": 3})
    run.epoch(scorer, {"epoch": 1.0, "train": 1 / 3}, kept)

    again, other = run_in(tmp_path), nn.Linear(3, 3)
    assert again.resume(other)

    assert torch.equal(other.weight, scorer.weight)
    assert again.history == [{"epoch": 1.0, "train": 1 / 3}]
    assert again.resumed is not None
    assert again.resumed.scalars == kept.scalars
    assert all(torch.equal(again.resumed.tensors[name], kept.tensors[name]) for name in kept.tensors)


def test_tensors_that_share_memory_are_kept_whole(tmp_path: Path) -> None:
    whole = torch.arange(6.0)
    run_in(tmp_path).epoch(nn.Identity(), {}, State({"whole": whole, "half": whole[:3]}, {}))
    again = run_in(tmp_path)
    again.resume(nn.Identity())

    assert again.resumed is not None
    assert again.resumed.tensors["half"].tolist() == [0.0, 1.0, 2.0]
    assert again.resumed.tensors["whole"].tolist() == whole.tolist()


def test_there_is_nothing_to_resume_in_a_new_folder(tmp_path: Path) -> None:
    assert not run_in(tmp_path).resume(nn.Identity())


def test_a_history_is_kept_only_of_a_run_that_would_be_gone_on_with(tmp_path: Path) -> None:
    run_in(tmp_path).epoch(nn.Identity(), {"train": 0.5}, State({"one": torch.ones(1)}, {}))
    assert kept_history(tmp_path) == ()

    write_record(tmp_path, record(finished=False))
    assert kept_history(tmp_path) == ({"train": 0.5},)


def test_a_finished_run_leaves_no_state(tmp_path: Path) -> None:
    run = run_in(tmp_path)
    run.epoch(nn.Identity(), {}, State({"one": torch.ones(1)}, {}))
    assert (tmp_path / STATE).exists()

    run.finish()

    assert not (tmp_path / STATE).exists()


class Watching:
    """Observers that add a row for each epoch except the first."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self.continued: list[dict[str, float]] | None = None

    def continue_after(self, history: Sequence[dict[str, float]], rows: Sequence[dict[str, float]]) -> None:
        self.continued, self.rows = list(history), list(rows)

    def after_epoch(self, _scorer: nn.Module, epoch: int) -> None:
        self.rows += [{"epoch": float(epoch), "auroc": 0.5}] if epoch > 1 else []


def watched_in(folder: Path, observers: Watching) -> FolderContext:
    return FolderContext(folder, seed=0, device=torch.device("cpu"), progress=silent, observers=observers)


def test_what_observers_say_is_kept_apart_from_the_history_and_resumed_with_it(tmp_path: Path) -> None:
    run, again = watched_in(tmp_path, Watching()), Watching()
    for epoch in (1, 2):
        run.epoch(nn.Identity(), {"train": 1.0 / epoch}, State({"one": torch.ones(1)}, {}))
    resumed = watched_in(tmp_path, again)
    resumed.resume(nn.Identity())

    assert resumed.history == again.continued == [{"train": 1.0}, {"train": 0.5}]
    assert again.rows == [{"epoch": 2.0, "auroc": 0.5}]


def test_what_was_read_holds_no_file_open(tmp_path: Path) -> None:
    run_in(tmp_path).epoch(nn.Identity(), {}, State({"one": torch.ones(1000)}, {}))
    again = run_in(tmp_path)
    again.resume(nn.Identity())
    path = tmp_path / STATE
    with path.open("r+b") as file:  # visible to all processes that have mapped the file
        file.write(bytes(path.stat().st_size))

    assert again.resumed is not None
    assert torch.equal(again.resumed.tensors["one"], torch.ones(1000))


def sealed(folder: Path, **changes: object) -> Path:
    """Write a finished run in the form in which `train` writes it."""
    written = record(**{"contents": {"c": "0" * 40}, **changes})
    known = recipe("unet_autoencoder")
    torch.manual_seed(written.seed)
    digest = write_weights(folder / MODEL, known.build(known.tiny, written.input), sealed=seal(written))
    write_record(folder, msgspec.structs.replace(written, weights_sha256=digest))
    return folder


def test_weights_of_another_run_are_refused(tmp_path: Path) -> None:
    one, other = sealed(tmp_path / "one"), sealed(tmp_path / "other", seed=2)
    load(one)
    load(other)
    (other / MODEL).replace(one / MODEL)

    with pytest.raises(TrainingError, match=r"model\.safetensors: expected weights with sha256 \w{12}"):
        load(one)


def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path) -> None:
    one, other = sealed(tmp_path / "one"), sealed(tmp_path / "other", seed=2)
    for folder in (one, other):
        checkpoint(folder, 1).parent.mkdir()
        checkpoint(folder, 1).write_bytes((folder / MODEL).read_bytes())
    load(one, epoch=1)
    checkpoint(other, 1).replace(checkpoint(one, 1))

    with pytest.raises(TrainingError, match="got weights of another run"):
        load(one, epoch=1)


@pytest.mark.parametrize(
    "changes",
    [
        {"split": Split(train=("c",), validation=("b",), calibration=("a",))},
        {"contents": {"c": "1" * 40}},
        {"fingerprint": "e" * 64},
    ],
    ids=["parts swapped", "another calibration part", "another training part"],
)
def test_a_record_that_was_changed_after_the_training_is_refused(changes: dict[str, object], tmp_path: Path) -> None:
    sealed(tmp_path)
    write_record(tmp_path, msgspec.structs.replace(read_record(tmp_path), **changes))

    with pytest.raises(TrainingError, match=r"or run\.json was changed"):
        load(tmp_path)


@pytest.mark.parametrize(
    "forged",
    [torch.zeros(3, dtype=torch.int64), torch.zeros(5, 3, dtype=torch.float64), torch.zeros(5), torch.zeros(5, 3, 1)],
    ids=["whole numbers", "float64", "an axis less", "an axis more"],
)
def test_a_tensor_of_another_type_or_rank_is_refused(forged: torch.Tensor) -> None:
    with pytest.raises(
        TrainingError, match=r"here: weights do not fit this detector: expected bank as torch\.float32 with 2 axes"
    ):
        load_state(Bank(), Bank().state_dict() | {"bank": forged}, where="here")


def test_a_buffer_whose_shape_the_detector_cannot_judge_with_is_refused(tmp_path: Path) -> None:
    written = record(recipe="pca", recipe_version=recipe("pca").version, settings={"steps": 2, "hop": 1}, input=WINDOW)
    known = recipe("pca")
    scorer = known.build(read_settings(written, known), WINDOW)
    write_weights(tmp_path / MODEL, scorer)
    write_record(tmp_path, written)
    load(tmp_path)
    scorer.center = torch.zeros(7)
    write_weights(tmp_path / MODEL, scorer)

    with pytest.raises(TrainingError, match=r"model\.safetensors: weights do not fit this detector"):
        load(tmp_path)


def test_parts_that_were_lost_do_not_count_as_trained_on() -> None:
    known = record(split=Split(train=("a", "d"), validation=("b",), calibration=("c",)), lost=("d",))

    assert (known.readable(known.split.train), known.readable(known.split.validation)) == (1, 1)
