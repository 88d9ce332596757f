"""A source of your own: any Python iterator of frames. Here, a generator stands for the library of a camera.

python examples/own_source.py washers.onnx
"""

import sys

import numpy as np

from andon.monitor import Monitor
from andon.runtime import Detector


def frames(detector, count):
    """Yield frames uint8 [height, width, channels] in RGB order. None means that a frame could not be taken."""
    spec = detector.card.input
    rng = np.random.default_rng(0)
    for number in range(count):
        yield None if number == 3 else rng.integers(0, 256, (*spec.frame_size, spec.channels), np.uint8)


def main(model):
    """Judge ten frames of noise."""
    detector = Detector.load(model)
    with Monitor() as monitor:
        monitor.add_line("own", model=model, source=frames(detector, 10), on_outcome=show)
        monitor.start()
        monitor.wait()


def show(outcome):
    """Print the outcome of each frame."""
    print(outcome.ref.key, outcome.verdict.status.name, outcome.detail)


if __name__ == "__main__":
    main(*sys.argv[1:])
