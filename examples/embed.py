"""Embed a model file in an inspection program. Three lines judge; the rest reads a frame and shows the result.

    python examples/embed.py washers.onnx parts/test/scratch/000.png
    python examples/embed.py washers.onnx frame.npy

A frame is a uint8 array [height, width, 3] in RGB order, as the camera's software delivers it. numpy.save writes one as .npy,
and the base install judges it. Reading pictures such as .png needs the extra andon[camera].
"""

import sys
from pathlib import Path

import numpy as np

from andon.runtime import AndonError, Detector, Status
from andon.runtime.heat_map import overlay


def main(model: str, picture: str) -> None:
    """Judge one frame. If the verdict is REJECT, write the frame with its heat map to reject.ppm."""
    detector = Detector.load(model)
    frame = np.load(picture) if picture.endswith(".npy") else read_picture(picture, detector)
    verdict = detector(frame)

    print(verdict.status.name, f"level {verdict.level:.2f} (1 is the threshold)", verdict.reason.text)
    if verdict.status is Status.REJECT:
        scale = detector.card.calibration.map_scale
        height, width = frame.shape[:2]
        pixels = overlay(frame, verdict.evidence["anomaly_map"], scale, crop=detector.card.input.crop)
        # PPM needs no library: three numbers, then red, green and blue of each pixel
        Path("reject.ppm").write_bytes(f"P6 {width} {height} 255\n".encode() + pixels.tobytes())
        print("see reject.ppm")


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
