"""Encoded animations can be read back with the same number of pictures, size, rate and colours."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from andon.foundation.errors import ConfigError
from andon.sources.opencv import opencv
from andon.training.animation.encode import HOLD_S, held, write_gif, write_mp4


def pictures(count: int, size: tuple[int, int] = (40, 64)) -> list[NDArray[np.uint8]]:
    """Return pictures of a red bar that grows on grey, so that swapped colour channels are detected."""
    made = []
    for number in range(count):
        picture = np.full((*size, 3), 120, np.uint8)
        picture[:, : 4 * (number + 1)] = (220, 30, 30)
        made.append(picture)
    return made


def read_mp4(path: Path) -> tuple[list[NDArray[np.uint8]], float]:
    cv2 = opencv()
    video: Any = cv2.VideoCapture(str(path))
    found: list[NDArray[np.uint8]] = []
    while True:
        there, picture = video.read()
        if not there:
            return found, float(video.get(cv2.CAP_PROP_FPS))
        found.append(picture[:, :, ::-1])


def read_gif(path: Path) -> tuple[list[NDArray[np.uint8]], list[int], Any]:
    from PIL import Image

    with Image.open(path) as image:
        found, durations = [], []
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            found.append(np.asarray(image.convert("RGB")))
            durations.append(image.info["duration"])
        return found, durations, image.info.get("loop")


@pytest.mark.parametrize("fps", [0.5, 5.0, 7.5, 50.0])
def test_a_gif_has_each_picture_for_its_time_and_begins_anew(fps: float, tmp_path: Path) -> None:
    size, rate = write_gif(tmp_path / "a.gif", pictures(9), fps)
    found, durations, loop = read_gif(tmp_path / "a.gif")

    assert size == (40, 64)
    assert rate == pytest.approx(fps, rel=0.03)
    assert durations == [1000 / rate] * 8 + [max(1000 / rate, 1000 * HOLD_S)]
    assert loop == 0
    for wanted, got in zip(pictures(9), found, strict=True):
        assert (
            np.abs(wanted.astype(int) - got).max() <= 4
        )  # the pictures have few colours, so the palette is close to them


def test_colours_do_not_flicker_in_a_gif(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    noisy = [np.concatenate([picture, generator.integers(0, 256, (20, 64, 3), np.uint8)]) for picture in pictures(12)]
    write_gif(tmp_path / "a.gif", noisy, 5)

    found, _, _ = read_gif(tmp_path / "a.gif")
    grey = {tuple(picture[5, 60]) for picture in found}
    assert len(grey) == 1


@pytest.mark.parametrize("fps", [0.5, 5.0, 7.5, 30.0])
def test_an_mp4_has_each_picture_and_the_last_one_for_a_while(fps: float, tmp_path: Path) -> None:
    size, _ = write_mp4(tmp_path / "a.mp4", iter(pictures(9)), fps)
    found, rate = read_mp4(tmp_path / "a.mp4")

    assert size == (40, 64)
    assert rate == pytest.approx(fps)
    assert len(found) == 9 + held(fps)
    wanted = [*pictures(9), *[pictures(9)[-1]] * held(fps)]
    for picture, got in zip(wanted, found, strict=True):
        assert picture.shape == got.shape
        assert np.abs(picture.astype(int) - got).mean() < 12


def test_one_picture_is_an_animation_too(tmp_path: Path) -> None:
    write_gif(tmp_path / "a.gif", pictures(1), 5)
    write_mp4(tmp_path / "a.mp4", pictures(1), 5)

    assert len(read_gif(tmp_path / "a.gif")[0]) == 1
    assert len(read_mp4(tmp_path / "a.mp4")[0]) == 1 + held(5)


@pytest.mark.parametrize("write", [write_gif, write_mp4])
def test_a_file_that_was_there_stands_until_the_new_one_is_whole(write: Any, tmp_path: Path) -> None:
    def broken() -> Any:
        yield from pictures(3)
        raise KeyboardInterrupt

    target = tmp_path / "a.file"
    target.write_bytes(b"before")
    with pytest.raises(KeyboardInterrupt):
        write(target, broken(), 5)

    assert target.read_bytes() == b"before"
    assert [path.name for path in tmp_path.iterdir()] == ["a.file"]


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    with pytest.raises(ConfigError, match="cannot be written"):
        write_gif(tmp_path / "file" / "a.gif", pictures(2), 5)


def test_an_opencv_that_makes_no_videos_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("andon.training.animation.encode.CODECS", ("none",))

    with pytest.raises(
        ConfigError, match=r"cannot write MP4 \(tried the codecs none\)\. Use a name that ends in \.gif"
    ):
        write_mp4(tmp_path / "a.mp4", pictures(2), 5)
