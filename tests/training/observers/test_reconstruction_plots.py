"""Pictures of reconstructions: their content, and long names that must not break the layout."""

from typing import Any

import msgspec
import numpy as np
import pytest
from tests.training.drawn import assert_nothing_is_clipped, labels

from andon.runtime.schema import Channel, WindowSpec
from andon.training.observers.reconstruction_plots import (
    MOST_CHANNELS,
    GoodMaps,
    Rebuilt,
    rebuilt_frames,
    rebuilt_windows,
)


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
    figure = rebuilt_frames(parts, title="epoch 10: reconstructions", map_name="l1", good_maps=GOOD_MAPS)

    shown = maps_of(figure)
    assert [image.get_clim() for image in shown] == [(0.0, 1.5)] * 3
    for image, part in zip(shown, parts, strict=True):
        assert part.map is not None
        assert np.asarray(image.get_array()) == pytest.approx(part.map / 0.5)
    assert sorted(label for label in labels(figure) if label) == ["map l1", "original", "rebuilt", "times good"]
    texts = [" ".join(text.get_text().split()) for text in figure.texts]
    assert "map: 1 is 0.5, the 99.9 % quantile over the cells of 9 good validation parts" in texts
    assert_nothing_is_clipped(figure)


def test_the_same_map_has_the_same_colours_whatever_stands_beside_it() -> None:
    alone, beside = (rebuilt_frames(frames(count), title="", map_name="l1", good_maps=GOOD_MAPS) for count in (1, 4))

    assert_nothing_is_clipped(alone)
    one, other = maps_of(alone)[0], maps_of(beside)[0]
    assert np.array_equal(one.to_rgba(one.get_array()), other.to_rgba(other.get_array()))


def test_frames_without_a_map_are_drawn_without_one() -> None:
    parts = [msgspec.structs.replace(part, map=None) for part in frames(2)]
    figure = rebuilt_frames(parts, title="epoch 1: reconstructions", map_name="")

    assert [label for label in labels(figure) if label] == ["original", "rebuilt"]


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
    title = "final weights, of epoch 12: reconstructions"

    assert_nothing_is_clipped(rebuilt_frames(frames(1, f"{name}\nscore 1"), title=title, map_name="$l1^$"))
    assert_nothing_is_clipped(
        rebuilt_windows(windows(1, 2, caption=name), title=title, spec=spec(2, "Volume Flow $RateRMS^$"))
    )


def spec(channels: int, name: str = "channel") -> WindowSpec:
    named = tuple(Channel(name=f"{name} {number}", unit="bar") for number in range(channels))
    return WindowSpec(steps=16, hop=8, period_s=0.1, channels=named)


def windows(count: int, channels: int, caption: str = "good (validation), score 1") -> list[Rebuilt]:
    """Return windows whose reconstruction is worse for higher channel numbers."""
    generator = np.random.default_rng(0)
    parts = []
    for _ in range(count):
        original = generator.normal(0, 1, (16, channels)).astype(np.float32)
        apart = np.arange(channels, dtype=np.float32) * np.ones((16, 1), np.float32)
        parts.append(Rebuilt(caption=caption, original=original, rebuilt=original + apart, map=apart**2))
    return parts


@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_each_channel_of_each_window_shows_original_and_rebuilt(count: int) -> None:
    figure = rebuilt_windows(windows(count, 3), title="epoch 3: reconstructions", spec=spec(3))

    assert len(figure.axes) == 3 * count
    assert all(len(axes.lines) == 2 for axes in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["original", "rebuilt", "difference"]
    assert "channel 0 [bar]" in labels(figure)
    by_channel = [{axes.get_ylim() for axes in figure.axes[channel::3]} for channel in range(3)]
    assert all(len(limits) == 1 for limits in by_channel), "one scale a channel for all windows"
    assert_nothing_is_clipped(figure)


def test_of_many_channels_the_worst_rebuilt_are_drawn_and_it_is_said() -> None:
    figure = rebuilt_windows(windows(1, 9), title="epoch 3: reconstructions", spec=spec(9))

    assert labels(figure) == [f"channel {number} [bar]" for number in range(9 - MOST_CHANNELS, 9)]
    assert any("the 6 worst reconstructed of 9 channels" in text.get_text() for text in figure.texts)
    assert_nothing_is_clipped(figure)
