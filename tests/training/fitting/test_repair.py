"""Synthetic damage for training, drawn from seed, epoch and place alone; some pictures stay good."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.training.in_memory import Parts
from torch import Tensor, nn

from andon.damage.kinds import FOR_TRAINING, HELD_OUT
from andon.training.contract.synthetic_data import synthetic_frame
from andon.training.fitting.gradient_descent import Batch
from andon.training.fitting.repair import CLEAN, Damage, DamageFeed, Head, focal_loss


def frames(first: int, count: int) -> Tensor:
    """Return prepared synthetic frames."""
    drawn = [torch.from_numpy(synthetic_frame(first + number, (64, 64))) for number in range(count)]
    return torch.stack(drawn).permute(0, 3, 1, 2).float() / 255


def world() -> Parts:
    return Parts(frames(0, 12), frames(100, 9))


class Brightness(nn.Module):
    """A poor detector with parameters and a score: it marks pixels that are brighter than their picture."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1))


def score(net: Any, prepared: Tensor) -> tuple[Tensor, Tensor]:
    maps = net.gain * (prepared - prepared.mean(dim=(2, 3), keepdim=True)).abs().amax(dim=1)
    return maps.flatten(1).amax(dim=1), nn.functional.max_pool2d(maps, 2)


def feed(seed: int = 0, light: float = 0.0) -> DamageFeed:
    return DamageFeed(world(), seed=seed, epochs=8, score=score, light=light)


def drawn(batches: Iterator[Batch]) -> list[Damage]:
    return [batch.tensors for batch in batches]


def equal(one: Sequence[Damage], other: Sequence[Damage]) -> bool:
    return all(
        torch.equal(a, b) for left, right in zip(one, other, strict=True) for a, b in zip(left, right, strict=True)
    )


def test_an_epoch_is_drawn_alike_by_a_feed_that_has_drawn_others_before() -> None:
    places = torch.arange(12)
    used = feed()
    list(used.train(places, 4, 0))

    assert equal(drawn(used.train(places, 4, 3)), drawn(feed().train(places, 4, 3)))


def test_epochs_and_seeds_draw_different_damage() -> None:
    places = torch.arange(12)

    assert not equal(drawn(feed().train(places, 4, 0)), drawn(feed().train(places, 4, 1)))
    assert not equal(drawn(feed(0).train(places, 4, 0)), drawn(feed(1).train(places, 4, 0)))


@settings(max_examples=10)
@given(st.lists(st.integers(0, 11), min_size=1, max_size=20), st.integers(1, 9))
def test_every_place_comes_once_in_its_order_whatever_the_batch(places: list[int], size: int) -> None:
    batches = list(feed().train(torch.tensor(places), size, 0))

    assert sum(batch.parts for batch in batches) == len(places)
    assert all(batch.parts == size for batch in batches[:-1])


def test_pictures_differ_where_the_mask_says_and_some_are_left_as_they_are() -> None:
    batches = drawn(feed().train(torch.arange(12).repeat(16), 12, 0))
    clean = torch.cat([batch.mask.flatten(1).amax(dim=1) == 0 for batch in batches])

    assert float(clean.float().mean()) == pytest.approx(CLEAN, abs=0.12)
    for batch in batches:
        apart = (batch.after - batch.before).abs().mean(dim=1, keepdim=True)
        assert apart[batch.mask > 0].mean() > 10 * apart[batch.mask == 0].mean()


def test_every_held_out_kind_is_validated_by_and_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def remember(_generator: Any, kind: str, _good: Any, _other: Any, _judged: Any) -> None:
        asked.append(kind)

    monkeypatch.setattr("andon.training.fitting.repair.damaged", remember)
    list(feed().validation(4))
    assert set(asked) == set(HELD_OUT)

    asked.clear()
    list(feed().train(torch.arange(12).repeat(8), 8, 0))
    assert set(asked) <= set(FOR_TRAINING)


def test_of_many_good_parts_validation_sees_a_hundred_spread_evenly() -> None:
    good = Parts(frames(0, 12), frames(0, 12).repeat(40, 1, 1, 1))
    many = DamageFeed(good, seed=0, epochs=8, score=score)

    assert sum(batch.parts for batch in many.validation(8)) == 100


def test_good_pictures_are_learnt_in_other_light_and_clean_ones_stay_clean() -> None:
    as_it_is, relit = (drawn(feed(light=light).train(torch.arange(12), 4, 0)) for light in (0.0, 0.2))

    changed = [one for one, other in zip(as_it_is, relit, strict=True) if not torch.equal(one.before, other.before)]
    assert changed
    clean = [
        (before, after) for batch in relit for before, after, mask in zip(*batch, strict=True) if not bool(mask.any())
    ]
    assert clean
    assert all(torch.equal(before, after) for before, after in clean)


def test_an_epoch_that_is_left_early_leaves_no_threads() -> None:
    before = set(threading.enumerate())  # a thread of another test may end meanwhile, so the number is not enough
    batches = feed().train(torch.arange(12).repeat(20), 4, 0)
    next(batches)
    batches.close()  # type: ignore[attr-defined]

    assert set(threading.enumerate()) <= before


def test_validation_is_the_same_each_time_and_covers_the_part() -> None:
    one = feed()
    first, second = drawn(one.validation(4)), drawn(one.validation(4))

    assert equal(first, second)
    assert sum(len(batch.before) for batch in first) == 9


def test_judging_tells_held_out_damage_and_comes_now_and_then() -> None:
    one = feed()
    figures = one.judge(Brightness(), 8)

    assert set(figures) == {"synthetic_auroc", "synthetic_pixel_ap"}
    assert 0.5 < figures["synthetic_auroc"] <= 1.0
    many = DamageFeed(world(), seed=0, epochs=80, score=score)
    assert [epoch for epoch in range(1, 13) if many.judge(Brightness(), epoch)] == [10]


def test_the_heads_map_is_half_as_fine_as_what_it_sees() -> None:
    head = Head(3, 4).eval()

    assert head(torch.rand(2, 3, 64, 96), torch.rand(2, 3, 64, 96)).shape == (2, 1, 32, 48)


def test_focal_loss_is_its_formula_over_cells_that_hold_a_damaged_pixel() -> None:
    logits = torch.randn(2, 1, 4, 4)
    mask = torch.zeros(2, 1, 8, 8)
    mask[0, 0, 1, 5] = 1.0
    target = torch.zeros(2, 1, 4, 4)
    target[0, 0, 0, 2] = 1.0
    chance = torch.where(target > 0, torch.sigmoid(logits), 1 - torch.sigmoid(logits))

    assert torch.allclose(focal_loss(logits, mask), (-((1 - chance) ** 2) * chance.log()).mean(), atol=1e-6)
