"""Pictures of a training: what must be on them, and names that must not spoil them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from andon.runtime.schema import Channel, WindowSpec
from andon.training.pictures import (
    MOST_CHANNELS,
    GoodMaps,
    Rebuilt,
    curves,
    rebuilt_frames,
    rebuilt_windows,
    save,
    shortened,
)


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


def labels(figure: Any) -> list[str]:
    return [axes.get_ylabel().replace("\n", " ") for axes in figure.axes]


def legend(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def assert_nothing_is_clipped(figure: Any) -> None:
    """All that is visible lies within the picture, to a hundredth of an inch."""
    figure.canvas.draw()
    box, size = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= -0.01, f"clipped on the left or below: {box}"
    assert box.x1 <= size[0] + 0.01, f"clipped on the right: {box} of {size}"
    assert box.y1 <= size[1] + 0.01, f"clipped above: {box} of {size}"


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

    assert labels(figure)[:2] == ["loss", "losses of the game"]
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
    assert legend(panel) == ["AUROC", "chance", "kept weights: 0.950"]
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


def frames(count: int, caption: str = "good (validation)\nscore 0.1", channels: int = 3) -> list[Rebuilt]:
    generator = np.random.default_rng(0)
    return [
        Rebuilt(
            caption=caption,
            original=generator.uniform(0, 255, (20, 30, channels)).astype(np.float32),
            rebuilt=generator.uniform(0, 255, (20, 30, channels)).astype(np.float32),
            map=(number + 1) * generator.uniform(0, 1, (5, 8)).astype(np.float32),
        )
        for number in range(count)
    ]


GOOD_MAPS = GoodMaps(quantile=0.5, of="9 good validation parts")


def maps_of(figure: Any) -> list[Any]:
    return [axes.images[0] for axes in figure.axes if axes.images and axes.images[0].get_size() == (5, 8)]


@pytest.mark.parametrize("channels", [1, 3])
def test_the_colours_of_a_map_count_in_multiples_of_what_good_parts_show(channels: int) -> None:
    parts = frames(3, channels=channels)
    figure = rebuilt_frames(parts, title="epoch 10: what is rebuilt", map_name="l1", good_maps=GOOD_MAPS)

    shown = maps_of(figure)
    assert [image.get_clim() for image in shown] == [(0.0, 1.5)] * 3
    for image, part in zip(shown, parts, strict=True):
        assert part.map is not None
        assert np.asarray(image.get_array()) == pytest.approx(part.map / 0.5)
    assert sorted(label for label in labels(figure) if label) == ["map l1", "original", "rebuilt", "times good"]
    texts = [" ".join(text.get_text().split()) for text in figure.texts]
    assert "map: 1 is 0.5, below which 99.9 % of the cells of 9 good validation parts lie" in texts
    assert_nothing_is_clipped(figure)


def test_the_same_map_has_the_same_colours_whatever_stands_beside_it() -> None:
    alone, beside = (rebuilt_frames(frames(count), title="", map_name="l1", good_maps=GOOD_MAPS) for count in (1, 4))

    assert_nothing_is_clipped(alone)
    one, other = maps_of(alone)[0], maps_of(beside)[0]
    assert np.array_equal(one.to_rgba(one.get_array()), other.to_rgba(other.get_array()))


def test_frames_without_a_map_are_drawn_without_one() -> None:
    parts = [msgspec.structs.replace(part, map=None) for part in frames(2)]
    figure = rebuilt_frames(parts, title="epoch 1: what is rebuilt", map_name="")

    assert [label for label in labels(figure) if label] == ["original", "rebuilt"]


def test_a_long_name_keeps_its_beginning_and_its_end() -> None:
    assert shortened("patchcore --preset fast --size 224", 20) == "patchcor… --size 224"
    assert shortened("patchcore", 9) == "patchcore"


def captions(figure: Any) -> list[str]:
    return [axes.get_title() for axes in figure.axes if axes.get_title()]


def test_a_long_caption_loses_its_middle_and_is_not_broken_within_a_word() -> None:
    name = "a_very_long_kind_of_damage_somebody_made_up (watched)"

    of_frames = captions(rebuilt_frames(frames(1, f"{name}\nscore 1"), title="", map_name="l1", good_maps=GOOD_MAPS))
    of_windows = captions(
        rebuilt_windows(windows(1, 2, caption=f"{name * 2}, score 1"), title="", spec=spec(2, "flow"))
    )

    assert of_frames == ["a_very_lon…e_up (watched)\nscore 1"]
    assert of_windows == ["a_very_long_kind_of_damage…ge_somebody_made_up (watched), score 1"]


def test_a_channels_long_name_is_not_broken_within_a_word() -> None:
    figure = rebuilt_windows(windows(1, 1), title="", spec=spec(1, "temperature_of_the_second_bearing housing"))

    assert labels(figure) == ["tempera…d_bearing housing 0 [bar]"]


def test_long_names_and_dollar_signs_spoil_no_picture() -> None:
    name = "a_very_long_kind_of_$damage$_somebody_made_up (watched)"
    title = "kept weights, of epoch 12: what is rebuilt"

    assert_nothing_is_clipped(rebuilt_frames(frames(1, f"{name}\nscore 1"), title=title, map_name="$l1^$"))
    assert_nothing_is_clipped(
        rebuilt_windows(windows(1, 2, caption=name), title=title, spec=spec(2, "Volume Flow $RateRMS^$"))
    )


def spec(channels: int, name: str = "channel") -> WindowSpec:
    named = tuple(Channel(name=f"{name} {number}", unit="bar") for number in range(channels))
    return WindowSpec(steps=16, hop=8, period_s=0.1, channels=named)


def windows(count: int, channels: int, caption: str = "good (validation), score 1") -> list[Rebuilt]:
    """The higher the number of the channel, the worse it is rebuilt."""
    generator = np.random.default_rng(0)
    parts = []
    for _ in range(count):
        original = generator.normal(0, 1, (16, channels)).astype(np.float32)
        apart = np.arange(channels, dtype=np.float32) * np.ones((16, 1), np.float32)
        parts.append(Rebuilt(caption=caption, original=original, rebuilt=original + apart, map=apart**2))
    return parts


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_channel_of_each_window_shows_original_and_rebuilt(count: int) -> None:
    figure = rebuilt_windows(windows(count, 3), title="epoch 3: what is rebuilt", spec=spec(3))

    assert len(figure.axes) == 3 * count
    assert all(len(axes.lines) == 2 for axes in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["original", "rebuilt", "difference"]
    assert "channel 0 [bar]" in labels(figure)
    by_channel = [{axes.get_ylim() for axes in figure.axes[channel::3]} for channel in range(3)]
    assert all(len(limits) == 1 for limits in by_channel), "one scale a channel for all windows"
    assert_nothing_is_clipped(figure)


def test_of_many_channels_the_worst_rebuilt_are_drawn_and_it_is_said() -> None:
    figure = rebuilt_windows(windows(1, 9), title="epoch 3: what is rebuilt", spec=spec(9))

    assert labels(figure) == [f"channel {number} [bar]" for number in range(9 - MOST_CHANNELS, 9)]
    assert any("the 6 of 9 channels" in text.get_text() for text in figure.texts)
    assert_nothing_is_clipped(figure)
