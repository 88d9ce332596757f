"""Animate what a training saw, epoch by epoch, as GIF or MP4: parts, what was rebuilt of them, maps, generated parts.

example:
  andon animate run/ -o training.gif
  andon animate run/ -o training.mp4 --fps 12 --size 640 --panels originals,reconstructions

Every training of a detector that rebuilds keeps the material: each epoch up to 20, each second up to 50, each fifth up to
100, and so on. For all of them: andon train ... --animation-epochs all. A running training can be animated too, as far as it is.
"""

import argparse
from pathlib import Path

from andon.cli._numbers import whole
from andon.foundation.errors import ConfigError

SUMMARY = "a GIF or MP4 of what a training saw, epoch by epoch"


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags."""
    parser.add_argument("run_folder", metavar="RUN", help="what 'andon train' wrote")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="FILE", help="training.gif or training.mp4")
    parser.add_argument(
        "--fps", type=float, default=5.0, metavar="F", help="epochs shown a second, 0.1 to 50 (default 5)"
    )
    parser.add_argument(
        "--size", type=whole(64, 4096), default=None, metavar="PX", help="width in pixels (default: as parts need)"
    )
    parser.add_argument(
        "--panels",
        type=_words,
        default=None,
        metavar="LIST",
        help="what to show in step: originals, reconstructions, maps, samples (default: all that the run has)",
    )
    parser.add_argument("--json", action="store_true", help="print what was made as one object")


def run(args: argparse.Namespace) -> int:
    """Draw and encode."""
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
    span = f"epochs {numbers[0]} to {max(numbers)}" if numbers else "kept weights"
    print(
        f"{made.path}: {len(made.epochs)} pictures ({span}) of {made.height} x {made.width} px (height x width), "
        f"{made.fps:g} a second, {summary['bytes']:,} bytes; {', '.join(made.panels)}"
    )
    return 0


def _words(text: str) -> tuple[str, ...]:
    words = tuple(word.strip() for word in text.split(",") if word.strip())
    if not words:
        raise ConfigError("--panels: expected at least one name.")
    return words
