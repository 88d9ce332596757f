"""Training of a bidirectional GAN: the losses of each net, log messages, collapses, and resumed runs."""

import logging
from collections.abc import Sequence
from typing import Literal

import msgspec
import pytest
import torch
from tests.training.in_memory import Parts, Remembering, Rows
from tests.training.small_bigan import SMALL, Going, bars, built, played
from torch import Generator, Tensor, nn

from andon.foundation.errors import DataError, TrainingError
from andon.training.detectors.bigan import BiGAN, fit, sample
from andon.training.fitting import adversarial
from andon.training.fitting.adversarial import COLLAPSED_STEPS, BiganTrainer, fooling


@pytest.mark.parametrize("loss", ["non_saturating", "hinge"])
def test_encoder_and_generator_each_want_their_pairs_taken_for_the_others(loss: str) -> None:
    good, fake = torch.zeros(4, requires_grad=True), torch.zeros(4, requires_grad=True)
    goals = fooling(good, fake, loss)
    (goals["encoder"] + goals["generator"]).backward()  # type: ignore[no-untyped-call]

    assert good.grad is not None
    assert fake.grad is not None
    assert float(good.grad.min()) > 0  # a lower loss makes good pairs look generated
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
    trainer = BiganTrainer(built(chosen), good, chosen, Remembering())
    weight = "generator.up.0.weight"
    history = [trainer.nets.state_dict()[weight].clone()]
    for _ in range(3):
        trainer.one_epoch()
        history.append(trainer.nets.state_dict()[weight].clone())
    mean = trainer.scorer.state_dict()[weight]

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
        BiganTrainer(built(chosen), Parts(bars(count), bars(2)), chosen, Remembering())
        for chosen in [msgspec.structs.replace(SMALL, epochs=None)]
        for count in (8, 800)
    ]

    assert [game.epochs for game in games] == [700, 7]


def test_a_training_part_smaller_than_a_batch_is_one_and_a_lone_part_is_refused() -> None:
    _, rows = played(msgspec.structs.replace(SMALL, batch_size=64), count=5)

    assert len(rows) == 2
    with pytest.raises(DataError, match="at least 2 good parts to train on, got 1"):
        played(SMALL, count=1)


def test_a_fit_that_diverges_says_what_to_lower() -> None:
    with pytest.raises(TrainingError, match=r"became (nan|inf) in epoch \d+: .* --learning-rate \(now 1e\+30\)"):
        played(msgspec.structs.replace(SMALL, epochs=30, learning_rate=1e30, loss="hinge"))


@pytest.mark.slow
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
    # bars are upright: pixels differ more along a row than along a column
    assert float(made.std(dim=3).mean()) > 2 * float(made.std(dim=2).mean())
    assert rows[-1]["generated_spread"] > 0.5


def test_a_validation_part_that_gives_no_number_is_told_with_the_epoch_that_was_played() -> None:
    with pytest.raises(TrainingError, match="the validation error became nan in epoch 1: training diverged"):
        fit(built(), Parts(bars(40), bars(16, seed=1) * float("nan")), SMALL, Remembering())


class Counting(Rows):
    """Good parts that record the largest number of parts taken at once."""

    most = 0

    def take(self, places: Sequence[int]) -> Tensor:
        self.most = max(self.most, len(places))
        return super().take(places)


@pytest.mark.parametrize(("bytes_", "looked_at"), [(256_000_000, 40), (12 * 12 * 4 * 20, 20), (1, 2)])
def test_how_good_parts_differ_is_seen_on_as_many_as_memory_is_there_for(
    bytes_: int, looked_at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adversarial, "MOST_BYTES", bytes_)
    good = Parts(bars(40), bars(2))
    good.train = Counting(bars(40))

    trainer = BiganTrainer(built(), good, SMALL, Remembering())

    assert good.train.most == looked_at
    assert trainer.good_spread == pytest.approx(float(bars(40)[:looked_at].std(dim=0).mean()))


# ---- collapse

EPOCHS_TO_COLLAPSE = COLLAPSED_STEPS // 20
"""Number of epochs after which a collapse is reported, with 80 pictures and 4 per step."""
UNFOOLED = msgspec.structs.replace(
    SMALL, learning_rate=1e-12, discriminator_rate=1e-2, spectral_norm=False, dropout=0.0, noise=0.0, smoothing=0.0,
    batch_size=4, epochs=EPOCHS_TO_COLLAPSE + 3, schedule="constant",
)  # fmt: skip
"""Settings of a discriminator that learns fast, and of nets that do not learn to fool it."""


def test_a_discriminator_that_nothing_fools_is_a_collapse_and_training_begins_again_with_the_next_seed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        _, rows = played(msgspec.structs.replace(UNFOOLED, restarts=2), count=80)
    messages = [record.message for record in caplog.records]

    assert [row.get("restarts", 0.0) for row in rows][-1] == 2
    assert [message.rpartition(". ")[2] for message in messages[:2]] == [
        "Restarting with seed 1",
        "Restarting with seed 2",
    ]
    assert all("nothing has fooled the discriminator for 100 steps" in message for message in messages)
    assert messages[2].endswith("after 2 restarts. The scores use the reconstruction error alone")
    assert len(messages) == 3
    assert rows[-1]["epoch"] == UNFOOLED.epochs


def test_a_collapse_is_told_of_a_training_part_so_large_that_there_is_but_one_epoch(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        played(msgspec.structs.replace(UNFOOLED, epochs=1, restarts=0, discriminator_rate=0.1), count=4 * 150)

    assert "nothing has fooled the discriminator for 150 steps" in caplog.text


@pytest.mark.parametrize("weight", [0.5, pytest.param(1.0, marks=pytest.mark.slow)])
def test_a_discriminator_that_collapsed_has_no_say_in_the_score(weight: float) -> None:
    chosen = msgspec.structs.replace(UNFOOLED, restarts=0, weight=weight)
    scorer, _ = played(chosen, count=80)
    with torch.no_grad():
        pictures = torch.rand(20, 1, 12, 12)
        evidence = scorer.eval()(pictures)
        error = scorer._judge(pictures)[2][:, 0]

    assert bool(evidence.scores["cross_entropy"].isfinite().all())
    assert float(evidence.scores["anomaly"].std()) > 0
    assert torch.allclose(evidence.scores["anomaly"], error / scorer.get_buffer("usual")[0])


def test_good_pictures_that_are_all_the_same_are_refused() -> None:
    with pytest.raises(DataError, match="all the same, pixel by pixel"):
        fit(built(), Parts(bars(1).expand(12, -1, -1, -1), bars(2)), SMALL, Remembering())


def test_a_generator_that_makes_one_picture_only_is_a_collapse(caplog: pytest.LogCaptureFixture) -> None:
    chosen = msgspec.structs.replace(
        SMALL, maps=1, initialisation="normal", learning_rate=1e-12, epochs=EPOCHS_TO_COLLAPSE, batch_size=4, restarts=1
    )
    with caplog.at_level(logging.WARNING):
        _, rows = played(chosen, count=80)

    assert rows[0]["generated_spread"] < 0.05
    assert "the generator makes one picture only. Restarting with seed 1" in caplog.text
    assert len(rows) == 2 * EPOCHS_TO_COLLAPSE


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


@pytest.mark.parametrize(
    "stop_after",
    [
        pytest.param(1, marks=pytest.mark.slow),
        EPOCHS_TO_COLLAPSE,
        pytest.param(EPOCHS_TO_COLLAPSE + 2, marks=pytest.mark.slow),
    ],
)
def test_a_fit_that_was_interrupted_before_at_or_after_a_restart_ends_with_the_same_weights(
    stop_after: int, uninterrupted: tuple[BiGAN, list[dict[str, float]]]
) -> None:
    whole, rows = uninterrupted
    assert rows[-1]["restarts"] == 1  # otherwise the test would not cover restarts
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
