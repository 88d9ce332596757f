"""Embed a model file in an inspection program. Three lines judge; the rest reads a frame and shows the result.

    python examples/embed.py washers.onnx parts/test/scratch/000.png
    python examples/embed.py washers.onnx frame.npy

A frame is a uint8 array [height, width, 3] in RGB order, as the camera's software delivers it. numpy.save writes one as .npy,
and the base install judges it. Reading pictures such as .png needs the extra andon[camera].
"""

import struct
import sys
import zlib
from pathlib import Path

import numpy as np

from andon.runtime import AndonError, Detector, Status
from andon.runtime.heat_map import map_limit, overlay


def main(model: str, picture: str) -> None:
    """Judge one frame. If the verdict is REJECT, write the frame with its heat map to reject.png."""
    detector = Detector.load(model)
    frame = np.load(picture) if picture.endswith(".npy") else read_picture(picture, detector)
    verdict = detector(frame)

    print(verdict.status.name, f"level {verdict.level:.2f} (1 is the threshold)", verdict.reason.text)
    if verdict.status is Status.REJECT:
        # a coarse grid of numbers, float32 [h, w]; overlay enlarges it to the frame and draws it with the file's own scale
        heat_map = verdict.evidence["anomaly_map"]
        limit = map_limit(detector.card, detector.threshold)
        Path("reject.png").write_bytes(png(overlay(frame, heat_map, limit, crop=detector.card.input.crop)))
        print(f"map {heat_map.shape} for a frame {frame.shape[:2]}, drawn in reject.png")


def png(picture: np.ndarray) -> bytes:
    """Encode uint8 [height, width, 3] as PNG with Python's own zlib: the base install has no library for pictures."""
    height, width, _ = picture.shape
    rows = np.zeros((height, 1 + 3 * width), np.uint8)  # each row begins with 0: not filtered
    rows[:, 1:] = picture.reshape(height, -1)

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)  # 8 bits, RGB
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows.tobytes()))
        + chunk(b"IEND", b"")
    )


def read_picture(path: str, detector: Detector) -> np.ndarray:
    """Decode a picture to RGB, or to grey if the model file was trained on grey pictures."""
    from andon.sources.pictures.decode import decode_file

    return decode_file(Path(path), channels=detector.card.input.channels)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python embed.py FILE.onnx FRAME (a picture, or an array written by numpy.save as .npy)")
    try:
        main(sys.argv[1], sys.argv[2])
    except AndonError as error:
        sys.exit(f"embed.py: {error}")
