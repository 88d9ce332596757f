"""Draw pictures of stamped washers, good and defective, to try andon without a camera.

    python examples/make_parts.py parts/

This command writes the folders that andon expects: ``train/good``, ``test/good``, ``test/TYPE`` and masks in
``ground_truth/TYPE``.
"""

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

SIZE = 320
Picture = NDArray[np.float32]


def washer(random: np.random.Generator) -> tuple[Picture, NDArray[np.bool_]]:
    """Draw one good washer under slightly changing light. Return grey levels ``[H, W]`` and the mask of its metal."""
    rows, columns = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32)
    centre_y, centre_x = SIZE / 2 + random.normal(0, 2, 2)
    radius = np.hypot(rows - centre_y, columns - centre_x)
    angle = np.arctan2(rows - centre_y, columns - centre_x) + random.uniform(0, 2 * np.pi)
    metal = (radius < 120) & (radius > 48)
    turned = 8 * np.sin(radius * 1.7) + 4 * np.sin(6 * angle)  # marks of the lathe
    light = 12 * (rows * random.normal(0, 1) + columns * random.normal(0, 1)) / SIZE
    picture = np.where(metal, 150 + turned, 60.0) + light + random.normal(0, 6)
    for edge in (48, 120):
        picture += 45 * np.exp(-((radius - edge) ** 2) / 6)  # the edges are bright
    return picture.astype(np.float32), metal


def scratch(picture: Picture, metal: NDArray[np.bool_], random: np.random.Generator) -> Picture:
    """Draw a thin bright line across the metal."""
    layer = np.zeros((SIZE, SIZE), np.float32)
    at = random.uniform(0, 2 * np.pi)
    begin = SIZE / 2 + 80 * np.array([np.cos(at), np.sin(at)])
    end = begin + random.normal(0, 25, 2)
    cv2.line(layer, begin.astype(int).tolist(), end.astype(int).tolist(), 1.0, 2, cv2.LINE_AA)
    return picture + layer * metal * random.uniform(35, 60)


def chip(picture: Picture, _metal: NDArray[np.bool_], random: np.random.Generator) -> Picture:
    """Remove a piece of the outer edge."""
    at = random.uniform(0, 2 * np.pi)
    place = (SIZE / 2 + 118 * np.array([np.cos(at), np.sin(at)])).astype(int)
    layer = np.zeros((SIZE, SIZE), np.float32)
    cv2.circle(layer, place.tolist(), int(random.integers(7, 14)), 1.0, -1, cv2.LINE_AA)
    return picture * (1 - layer) + 62 * layer


def stain(picture: Picture, metal: NDArray[np.bool_], random: np.random.Generator) -> Picture:
    """Draw a dark, irregular stain on the metal."""
    cloud = cv2.GaussianBlur(random.normal(0, 1, (SIZE, SIZE)).astype(np.float32), (0, 0), 9)
    at = random.uniform(0, 2 * np.pi)
    place = (SIZE / 2 + 84 * np.array([np.cos(at), np.sin(at)])).astype(int)
    near = np.zeros((SIZE, SIZE), np.float32)
    cv2.circle(near, place.tolist(), 26, 1.0, -1)
    return picture - 38 * near * metal * (cloud > 0)


DEFECTS = {"scratch": scratch, "chip": chip, "stain": stain}


def shot(picture: Picture, random: np.random.Generator) -> NDArray[np.uint8]:
    """Simulate the camera: a little blur, noise, RGB."""
    seen = cv2.GaussianBlur(picture, (0, 0), 0.8) + random.normal(0, 2.5, picture.shape)
    tinted = seen[:, :, None] * np.array([0.97, 1.0, 1.03])
    return np.clip(tinted, 0, 255).astype(np.uint8)


def make_parts(out: Path, seed: int = 0, train_parts: int = 240) -> None:
    """Write `train_parts` good parts to train on, and 40 good and 45 defective ones to evaluate on."""
    random = np.random.default_rng(seed)

    def write(path: str, picture: NDArray[np.uint8]) -> None:
        target = out / path
        target.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(target), picture)

    for part, count in (("train", train_parts), ("test", 40)):
        for number in range(count):
            write(f"{part}/good/{number:03}.png", shot(washer(random)[0], random))
    for kind, spoil in DEFECTS.items():
        for number in range(15):
            good, metal = washer(random)
            bad = spoil(good, metal, random)
            write(f"test/{kind}/{number:03}.png", shot(bad, random))
            write(f"ground_truth/{kind}/{number:03}_mask.png", (np.abs(bad - good) > 8).astype(np.uint8) * 255)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, help="output folder")
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--good", type=int, default=240, help="number of good parts to train on (default: 240)")
    args = parser.parse_args()
    make_parts(args.out, args.seed, args.good)
