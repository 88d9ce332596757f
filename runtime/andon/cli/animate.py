"""Make a GIF or MP4 of a training, epoch by epoch: parts, their reconstructions, anomaly maps, generated parts.

example:
  andon animate run/ -o training.gif
  andon animate run/ -o training.mp4 --fps 12 --size 640 --panels originals,reconstructions

If the detector reconstructs parts, training keeps the pictures for the animation. By default it keeps each epoch up to
epoch 20, each 2nd up to epoch 50, each 5th up to epoch 100, and so on. To keep all epochs: andon train ...
--animation-epochs all. A training in progress can also be animated, up to its current epoch.
"""

import argparse
from pathlib import Path

from andon.cli._numbers import whole
from andon.foundation.errors import ConfigError

SUMMARY = "make a GIF or MP4 of a training, epoch by epoch"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("run_folder", metavar="RUN", help="run folder from 'andon train'")
    parser.add_argument(
        "-o",
        "--out",
        required=True,
        type=Path,
        metavar="FILE",
        help="output file, for example training.gif or training.mp4",
    )
    parser.add_argument(
        "--fps", type=float, default=5.0, metavar="F", help="epochs shown per second, 0.1 to 50 (default: 5)"
    )
    parser.add_argument(
        "--size",
        type=whole(64, 4096),
        default=None,
        metavar="PX",
        help="width in pixels, 64 to 4096 (default: from the size of the parts)",
    )
    parser.add_argument(
        "--panels",
        type=_words,
        default=None,
        metavar="LIST",
        help="panels to show: originals, reconstructions, maps, samples, separated by commas (default: all that the run has)",
    )
    parser.add_argument("--json", action="store_true", help="print a summary as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Draw and encode the animation."""
    import json

    from andon.foundation.extras import needs
    from andon.foundation.progress import ProgressLine

    with needs("train", "animating"):
        from andon.training.animation.animate import animate

    made = animate(args.run_folder, args.out, fps=args.fps, size=args.size, panels=args.panels, progress=ProgressLine())
    summary = {
        "file": str(made.path),
        "pictures": len(made.epochs),
        "panels": list(made.panels),
        "width": made.width,
        "height": made.height,
        "fps": made.fps,
        "bytes": made.path.stat().st_size,
        "epochs": list(made.epochs),
    }
    if args.json:
        print(json.dumps(summary))
        return 0
    numbers = [epoch for epoch in made.epochs if epoch is not None]
    span = f"epochs {numbers[0]} to {max(numbers)}" if numbers else "final weights"
    print(
        f"{made.path}: {len(made.epochs)} pictures ({span}) of {made.height} x {made.width} px (height x width), "
        f"{made.fps:g} per second, {summary['bytes']:,} bytes, panels {', '.join(made.panels)}"
    )
    return 0


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise ConfigError(f"--panels: expected at least one name, got {text!r}. Example: --panels originals,maps.")
    return words
