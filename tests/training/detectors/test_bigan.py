"""What is special about bigan: nets for any size, a game with rules, its score, and what happens when it collapses."""

import logging
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.in_memory import Parts, Remembering
from torch import Generator, Tensor, nn

from andon.calibration.calibrate import Wish
from andon.calibration.evaluation.evaluate import evaluate
from andon.runtime import Detector
from andon.runtime.errors import ConfigError, DataError, TrainingError
from andon.runtime.schema import FrameSpec
from andon.sources.chosen import Chosen
from andon.sources.items import FoundFrames
from andon.sources.log import Log
from andon.sources.opening import labelled_for
from andon.sources.source import collect
from andon.training.detectors.bigan import (
    COLLAPSED_STEPS,
    RECIPE,
    BiGAN,
    Game,
    Settings,
    depth_of,
    fit,
    fooling,
    sample,
)
from andon.training.export_run import export_run
from andon.training.recipe import State
from andon.training.train import train

SMALL = Settings(latent=6, maps=3, discriminator_maps=3, features=8, batch_size=8, epochs=2)
"""Of nets that take a moment."""


def frames(height: int = 12, width: int = 12, channels: Literal[1, 3] = 1) -> FrameSpec:
    return FrameSpec(channels=channels, size=(height, width))


def built(chosen: Settings = SMALL, spec: FrameSpec | None = None, seed: int = 0) -> BiGAN:
    torch.manual_seed(seed)
    scorer = RECIPE.build(chosen, spec or frames())
    assert isinstance(scorer, BiGAN)
    return scorer


def bars(count: int, seed: int = 0) -> Tensor:
    """Good parts ``[count, 1, 12, 12]``: a bright bar, upright, of any place and width."""
    generator = Generator().manual_seed(seed)
    places = torch.arange(12).view(1, 1, 1, 12)
    left = torch.randint(1, 6, (count, 1, 1, 1), generator=generator)
    wide = torch.randint(2, 5, (count, 1, 1, 1), generator=generator)
    bar = ((places >= left) & (places < left + wide)).float().expand(count, 1, 12, 12)
    return 0.1 + 0.8 * bar + 0.02 * torch.rand(count, 1, 12, 12, generator=generator)


class Going(Remembering):
    """A run that keeps states and weights, and goes on from one of them."""

    def __init__(self, resumed: State | None = None, stop_after: int | None = None) -> None:
        super().__init__()
        self.resumed = resumed
        self.states: list[tuple[dict[str, Tensor], State]] = []
        self.stop_after = stop_after

    def epoch(self, scorer: nn.Module, losses: Any, state: State | None = None) -> None:
        super().epoch(scorer, losses, state)
        assert state is not None
        weights = {name: tensor.clone() for name, tensor in scorer.state_dict().items()}
        self.states.append((weights, State({n: t.clone() for n, t in state.tensors.items()}, dict(state.scalars))))
        if len(self.rows) == self.stop_after:
            raise KeyboardInterrupt


def played(chosen: Settings, count: int = 40, run: Remembering | None = None) -> tuple[BiGAN, list[dict[str, float]]]:
    scorer, run = built(chosen), run or Remembering()
    fit(scorer, Parts(bars(count), bars(16, seed=1)), chosen, run)
    return scorer, run.rows


# ---- nets


@settings(max_examples=40)
@given(
    height=st.integers(8, 70),
    width=st.integers(8, 70),
    channels=st.sampled_from([1, 3]),
    depth=st.sampled_from([None, 1, 2, 3]),
    output=st.sampled_from(["tanh", "sigmoid"]),
)
def test_pictures_of_any_size_and_channels_are_rebuilt_and_made_in_their_own_size(
    height: int, width: int, channels: Literal[1, 3], depth: int | None, output: Literal["tanh", "sigmoid"]
) -> None:
    chosen = msgspec.structs.replace(SMALL, depth=depth, output=output)
    scorer = built(chosen, frames(height, width, channels)).eval()
    with torch.no_grad():
        evidence = scorer(torch.rand(2, channels, height, width))
    made = sample(scorer, chosen, 3, Generator().manual_seed(0))

    assert evidence.images["reconstruction"].shape == (2, channels, height, width)
    assert evidence.maps["error"].shape == (2, height, width)
    assert made.shape == (3, channels, height, width)
    assert 0 <= float(made.min()) <= float(made.max()) <= 1


@pytest.mark.parametrize(
    ("side", "halvings"), [(8, 2), (16, 2), (28, 2), (32, 3), (63, 3), (64, 4), (128, 5), (512, 5)]
)
def test_the_nets_are_deeper_for_larger_pictures(side: int, halvings: int) -> None:
    assert depth_of(Settings(), frames(side, side + 3)) == halvings


def test_pictures_are_not_halved_to_nothing() -> None:
    with pytest.raises(ConfigError, match=r"--depth 5 halves pictures of 20 x 28 to nothing: at most 4\."):
        built(msgspec.structs.replace(SMALL, depth=5), frames(20, 28))


def test_pictures_of_another_range_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"wants pictures in 0 to 1, got \(grey level - 127\.5\) / 127\.5"):
        built(spec=msgspec.structs.replace(frames(), mean=127.5, scale=127.5))


def test_tanh_sees_pictures_in_its_own_range_and_gives_them_back_in_that_of_the_file() -> None:
    scorer = built(msgspec.structs.replace(SMALL, output="tanh"))
    picture = torch.rand(2, 1, 12, 12)

    assert float(scorer.inner(torch.zeros(1))) == -1
    assert float(scorer.inner(torch.ones(1))) == 1
    assert torch.allclose(scorer.outer(scorer.inner(picture)), picture, atol=1e-6)


def test_signals_keep_their_size_from_net_to_net_when_initialised_soundly() -> None:
    chosen = msgspec.structs.replace(SMALL, maps=16, discriminator_maps=16, features=64, latent=32, depth=3)
    sound, small = (
        built(msgspec.structs.replace(chosen, initialisation=how), frames(64, 64)).eval() for how in ("he", "normal")
    )
    picture = torch.randn(16, 1, 64, 64)
    with torch.no_grad():
        codes = [scorer.encoder(picture)[0].std() for scorer in (sound, small)]

    assert 0.3 < float(codes[0]) < 3
    assert float(codes[1]) < 0.2


# ---- the score


@given(
    weight=st.floats(0.0, 1.0),
    distance=st.sampled_from(["l1", "l2"]),
    part=st.sampled_from(["features", "cross_entropy"]),
    output=st.sampled_from(["tanh", "sigmoid"]),
    brightness=st.sampled_from([0.0, 1.0, 2.0]),
)
def test_the_score_is_the_papers_each_part_in_units_of_good_parts(
    weight: float,
    distance: Literal["l1", "l2"],
    part: Literal["features", "cross_entropy"],
    output: Literal["tanh", "sigmoid"],
    brightness: float,
) -> None:
    chosen = msgspec.structs.replace(
        SMALL,
        weight=weight,
        distance=distance,
        discriminator_score=part,
        output=output,
        blur=0.0,
        brightness=brightness,
    )
    scorer = built(chosen).eval()
    scorer.learn_usual(Parts(bars(20), bars(2)).train, torch.device("cpu"))
    picture = torch.rand(5, 1, 12, 12)
    with torch.no_grad():
        evidence = scorer(picture)
        inner = scorer.inner(picture)
        code = scorer.encoder(inner)[0]
        again = scorer.generator(code)
        (seen, logit), (seen_again, _) = scorer.discriminator(inner, code), scorer.discriminator(again, code)

    def norm(one: Tensor, other: Tensor) -> Tensor:
        flat = (one - other).flatten(1).double()
        return flat.abs().mean(dim=1) if distance == "l1" else flat.square().mean(dim=1).sqrt()

    usual = scorer.get_buffer("usual").double()
    bright = picture.flatten(1).double().square().mean(dim=1).sqrt() ** brightness
    rebuilding = norm(picture, evidence.images["reconstruction"]) / usual[0]
    rebuilding = rebuilding / (bright if distance == "l1" else bright.sqrt())
    believed = -torch.log(torch.sigmoid(logit.double()))
    judging = believed / usual[1] if part == "cross_entropy" else norm(seen, seen_again) / usual[2]
    assert torch.allclose(
        evidence.scores["anomaly"].double(), (1 - weight) * rebuilding + weight * judging, rtol=1e-4, atol=1e-6
    )
    assert torch.allclose(evidence.scores["cross_entropy"].double(), believed, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("channels", [1, 3])
def test_smoothing_forgives_what_lies_a_little_aside_but_not_what_is_missing(channels: Literal[1, 3]) -> None:
    aside, missing = torch.zeros(2, 1, channels, 12, 12)
    aside[0, :, 6, 4:8], aside[0, :, 7, 4:8] = 1.0, -1.0
    missing[0, :, 6:8, 4:8] = 1.0
    plain, smooth = (
        built(msgspec.structs.replace(SMALL, blur=blur, brightness=0.0), frames(channels=channels)).eval()
        for blur in (0.0, 1.0)
    )
    errors = {}
    for name, difference in (("aside", aside), ("missing", missing)):
        for scorer in (plain, smooth):
            errors[name, scorer is smooth] = float(scorer.error(0.5 + difference, torch.tensor(0.5)).mean())

    assert errors["aside", False] == pytest.approx(errors["missing", False], rel=1e-4)
    assert errors["aside", True] < 0.4 * errors["missing", True]


def test_a_usual_good_part_scores_one() -> None:
    good = bars(50)
    scorer = built().eval()
    scorer.learn_usual(Parts(good, good).train, torch.device("cpu"))
    with torch.no_grad():
        scores = scorer(good).scores["anomaly"]

    assert float(scores.mean()) == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize(("weight", "reads"), [(0.0, "map"), (0.3, "score")])
def test_without_the_discriminators_part_the_map_decides(weight: float, reads: str) -> None:
    reading = RECIPE.reading(msgspec.structs.replace(SMALL, weight=weight))

    assert (reading.map, reading.score) == (("error", None) if reads == "map" else (None, "anomaly"))


# ---- the game


@pytest.mark.parametrize("loss", ["non_saturating", "hinge"])
def test_encoder_and_generator_each_want_their_pairs_taken_for_the_others(loss: str) -> None:
    good, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    goals = fooling(good, fake, loss)
    (goals["encoder"] + goals["generator"]).backward()  # type: ignore[no-untyped-call]

    assert good.grad is not None
    assert fake.grad is not None
    assert float(good.grad.min()) > 0  # going down makes good pairs look made
    assert float(fake.grad.max()) < 0


@pytest.mark.parametrize("loss", ["non_saturating", "hinge"])
def test_the_discriminators_step_teaches_the_other_nets_nothing_and_theirs_it_nothing(
    loss: Literal["non_saturating", "hinge"],
) -> None:
    chosen = msgspec.structs.replace(
        SMALL, loss=loss, epochs=1, learning_rate=1e-30, spectral_norm=False, averaging=0.0
    )
    before = built(chosen).state_dict()
    after = played(chosen)[0].state_dict()
    still = msgspec.structs.replace(chosen, learning_rate=1e-3, discriminator_rate=1e-30)
    other = played(still)[0].state_dict()
    learnt = [name for name in before if name.endswith("weight")]

    for name in learnt:
        ours = name.startswith("discriminator")
        assert torch.equal(before[name], after[name]) != ours, name
        assert torch.equal(before[name], other[name]) == ours, name


def test_what_scores_is_a_running_mean_that_follows_the_nets() -> None:
    good = Parts(bars(40), bars(8, seed=1))
    chosen = msgspec.structs.replace(SMALL, averaging=0.999, spectral_norm=False)
    game = Game(built(chosen), good, chosen, Remembering())
    weight = "generator.up.0.weight"
    history = [game.nets.state_dict()[weight].clone()]
    for _ in range(3):
        game.one_epoch()
        history.append(game.nets.state_dict()[weight].clone())
    mean = game.scorer.state_dict()[weight]

    assert float((mean - history[-1]).abs().max()) > 0
    assert float((mean - history[-1]).norm()) < float((history[0] - history[-1]).norm())


def test_only_the_discriminator_is_spectrally_normalised_and_the_scorer_holds_its_acting_weights() -> None:
    chosen = msgspec.structs.replace(SMALL, averaging=0.0, epochs=10, discriminator_rate=1e-2)
    scorer, _ = played(chosen)
    largest = {
        name: float(torch.linalg.matrix_norm(module.weight.detach().flatten(1), 2))
        for name, module in scorer.named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    }

    assert all(value < 1.1 for name, value in largest.items() if name.startswith("discriminator"))
    assert any(value > 1.2 for name, value in largest.items() if name.startswith("encoder"))
    assert not any("parametrizations" in name for name in scorer.state_dict())


def test_learning_rates_fall_to_a_hundredth_or_stay() -> None:
    falling = [row["learning_rate"] for row in played(msgspec.structs.replace(SMALL, epochs=20))[1]]
    staying = played(msgspec.structs.replace(SMALL, epochs=3, schedule="constant"))[1]

    assert falling == sorted(falling, reverse=True)
    assert falling[-1] == pytest.approx(0.01 * SMALL.learning_rate, rel=0.7)
    assert {row["learning_rate"] for row in staying} == {SMALL.learning_rate}


def test_the_history_tells_of_all_three_nets() -> None:
    _, rows = played(SMALL)

    assert set(rows[0]) == {
        "epoch", "train", "validation", "discriminator_loss", "generator_loss", "encoder_loss", "discriminator_accuracy",
        "generated_spread", "learning_rate", "seconds", "parts_per_s",
    }  # fmt: skip
    assert all(0 <= row["discriminator_accuracy"] <= 1 for row in rows)


def test_few_parts_are_gone_through_more_often() -> None:
    games = [
        Game(built(chosen), Parts(bars(count), bars(2)), chosen, Remembering())
        for chosen in [msgspec.structs.replace(SMALL, epochs=None)]
        for count in (8, 800)
    ]

    assert [game.epochs for game in games] == [700, 7]


def test_a_training_part_smaller_than_a_batch_is_one_and_a_lone_part_is_refused() -> None:
    _, rows = played(msgspec.structs.replace(SMALL, batch_size=64), count=5)

    assert len(rows) == 2
    with pytest.raises(DataError, match="at least 2 good parts to learn from, got 1"):
        played(SMALL, count=1)


def test_a_fit_that_diverges_says_what_to_lower() -> None:
    with pytest.raises(TrainingError, match=r"became (nan|inf) in epoch \d+: .* Lower --learning-rate \(now 1e\+30\)"):
        played(msgspec.structs.replace(SMALL, epochs=30, learning_rate=1e30, loss="hinge"))


def test_it_learns_what_good_parts_look_like_and_makes_new_ones() -> None:
    chosen = msgspec.structs.replace(SMALL, maps=6, latent=4, epochs=28, learning_rate=5e-3)
    scorer, rows = played(chosen, count=120)
    good = bars(30, seed=7)
    with torch.no_grad():
        upright = scorer(good).scores["anomaly"]
        lying = scorer(good.transpose(2, 3)).scores["anomaly"]
    made = sample(scorer, chosen, 50, Generator().manual_seed(0))

    assert rows[-1]["validation"] < 0.4 * rows[0]["validation"]
    assert float(lying.min()) > float(upright.max())
    # bars stand: what differs along a row is more than what differs along a column
    assert float(made.std(dim=3).mean()) > 2 * float(made.std(dim=2).mean())
    assert rows[-1]["generated_spread"] > 0.5


# ---- collapse

EPOCHS_TO_TELL = COLLAPSED_STEPS // 20
"""Of 80 pictures, 4 a step."""
UNFOOLED = msgspec.structs.replace(
    SMALL, learning_rate=1e-12, discriminator_rate=1e-2, spectral_norm=False, dropout=0.0, noise=0.0, smoothing=0.0,
    batch_size=4, epochs=EPOCHS_TO_TELL + 3, schedule="constant",
)  # fmt: skip
"""A discriminator that learns fast, and nets that do not learn to fool it."""


def test_a_discriminator_that_nothing_fools_is_a_collapse_and_training_begins_again_with_the_next_seed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        _, rows = played(msgspec.structs.replace(UNFOOLED, restarts=2), count=80)
    told = [record.message for record in caplog.records]

    assert [row.get("restarts", 0.0) for row in rows][-1] == 2
    assert [message.rpartition(": ")[2] for message in told[:2]] == [
        "beginning again with seed 1", "beginning again with seed 2",
    ]  # fmt: skip
    assert all("nothing has fooled the discriminator for 100 steps" in message for message in told)
    assert told[2].endswith("and 2 restarts are used up: the scores rest on rebuilding alone")
    assert len(told) == 3
    assert rows[-1]["epoch"] == UNFOOLED.epochs


def test_a_collapse_is_told_of_a_training_part_so_large_that_there_is_but_one_epoch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        played(msgspec.structs.replace(UNFOOLED, epochs=1, restarts=0, discriminator_rate=0.1), count=4 * 1500)

    assert "nothing has fooled the discriminator for 1500 steps" in caplog.text


def test_a_discriminator_that_collapsed_has_no_say_in_the_score() -> None:
    chosen = msgspec.structs.replace(UNFOOLED, restarts=0, weight=0.5)
    scorer, _ = played(chosen, count=80)
    with torch.no_grad():
        pictures = torch.rand(20, 1, 12, 12)
        evidence = scorer.eval()(pictures)
        error = scorer._judge(pictures)[2][:, 0]

    assert bool(evidence.scores["cross_entropy"].isfinite().all())
    assert torch.allclose(evidence.scores["anomaly"], 0.5 * error / scorer.get_buffer("usual")[0])


def test_good_pictures_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(DataError, match="all the same, pixel by pixel"):
        fit(built(), Parts(bars(1).expand(12, -1, -1, -1), bars(2)), SMALL, Remembering())


def test_a_generator_that_makes_one_picture_only_is_a_collapse(caplog: pytest.LogCaptureFixture) -> None:
    chosen = msgspec.structs.replace(
        SMALL, maps=1, initialisation="normal", learning_rate=1e-12, epochs=EPOCHS_TO_TELL, batch_size=4, restarts=1
    )
    with caplog.at_level(logging.WARNING):
        _, rows = played(chosen, count=80)

    assert rows[0]["generated_spread"] < 0.05
    assert "the generator makes one picture only: beginning again with seed 1" in caplog.text
    assert len(rows) == 2 * EPOCHS_TO_TELL


def test_a_second_attempt_has_other_weights_than_the_first() -> None:
    run = Going()
    played(msgspec.structs.replace(UNFOOLED, restarts=1, averaging=0.0), count=80, run=run)
    fresh = [weights for (weights, state) in run.states if state.scalars["epoch"] == 0]
    first = built(UNFOOLED).state_dict()

    assert len(fresh) == 1
    assert not torch.allclose(fresh[0]["encoder.last.weight"], first["encoder.last.weight"])


INTERRUPTED = msgspec.structs.replace(UNFOOLED, restarts=1, dropout=0.2, reparameterised=True, noise=0.01)


@pytest.fixture(scope="module")
def uninterrupted() -> tuple[BiGAN, list[dict[str, float]]]:
    return played(INTERRUPTED, count=80)


@pytest.mark.parametrize("stop_after", [1, EPOCHS_TO_TELL, EPOCHS_TO_TELL + 2])
def test_a_fit_that_was_interrupted_before_at_or_after_a_restart_ends_with_the_same_weights(
    stop_after: int, uninterrupted: tuple[BiGAN, list[dict[str, float]]]
) -> None:
    whole, rows = uninterrupted
    assert rows[-1]["restarts"] == 1  # else it says nothing about restarts
    run = Going(stop_after=stop_after)
    with pytest.raises(KeyboardInterrupt):
        played(INTERRUPTED, count=80, run=run)
    weights, state = run.states[-1]
    scorer = built(INTERRUPTED, seed=99)
    scorer.load_state_dict(weights)
    again = Going(resumed=state)
    fit(scorer, Parts(bars(80), bars(16, seed=1)), INTERRUPTED, again)

    assert len(run.rows) + len(again.rows) == len(rows)
    for name, tensor in whole.state_dict().items():
        assert torch.equal(tensor, scorer.state_dict()[name]), name


# ---- samples


def test_samples_are_the_same_for_the_same_seed_and_differ_among_each_other() -> None:
    scorer = built().eval()
    first, again, other = (sample(scorer, SMALL, 300, Generator().manual_seed(seed)) for seed in (3, 3, 4))

    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == (300, 1, 12, 12)
    assert float(torch.pdist(first[:50].flatten(1)).min()) > 0


def test_a_net_that_only_learnt_to_rebuild_makes_nothing() -> None:
    chosen = msgspec.structs.replace(SMALL, adversarial=0.0, weight=0.0)
    scorer, rows = played(chosen)

    assert "discriminator_loss" not in rows[0]
    with pytest.raises(ConfigError, match=r"--adversarial 0 .* nothing to draw codes from"):
        sample(scorer, chosen, 1, Generator())


# ---- settings and data


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"loss": "hinge", "smoothing": 0.1}, "--smoothing needs --loss non_saturating"),
        ({"adversarial": 0.0, "cycle": 0.0, "weight": 0.0}, "leave nothing to learn"),
        ({"adversarial": 0.0, "weight": 0.1}, "it needs --weight 0"),
        ({"size": 16, "depth": 5}, "--depth 5 halves pictures"),
    ],
)
def test_settings_that_do_not_fit_each_other_are_refused_before_anything_is_read(
    wrong: dict[str, Any], message: str
) -> None:
    found = FoundFrames(channels=1, frame_size=(28, 28), largest=(28, 28))
    with pytest.raises(ConfigError, match=message):
        RECIPE.wanted_input(msgspec.structs.replace(SMALL, **wrong), found)


@pytest.mark.parametrize(
    ("found", "size", "seen"),
    [((28, 28), None, (28, 28)), ((20, 64), None, (20, 64)), ((65, 20), None, (64, 64)), (None, None, (64, 64)),
     ((28, 28), 32, (32, 32))],
)  # fmt: skip
def test_small_pictures_stay_as_they_are_and_large_ones_become_64_px(
    found: tuple[int, int] | None, size: int | None, seen: tuple[int, int]
) -> None:
    there = FoundFrames(channels=3, frame_size=found, largest=found or (900, 900))

    assert RECIPE.wanted_input(Settings(size=size), there) == FrameSpec(channels=3, size=seen)


@pytest.mark.slow
@pytest.mark.data
def test_zeros_are_told_from_other_digits_of_mnist(
    andon_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With all 5 923 of them docs/results.md has the figures; here with a quarter, and a quarter of the time."""
    monkeypatch.setenv("ANDON_CACHE", str(tmp_path / "cache"))
    text = f"mnist:normal=0,root={andon_data / 'mnist'}"
    good = collect(text)
    assert not isinstance(good, Log)
    few = Chosen(good, good.refs[:1500])
    run = train(RECIPE, few, tmp_path / "run", settings=Settings(), threads=1, picture_epochs=())
    exported = export_run(run, tmp_path / "zero.onnx", wish=Wish(), date="2026-01-02", data=few)
    tested, truth = labelled_for(text, run.spec)
    figures, _ = evaluate(Detector.load(exported.path), Chosen(tested, tested.refs[:1000]), truth, intervals=False)

    assert figures.auroc > 0.9
    assert np.isfinite(figures.threshold)
