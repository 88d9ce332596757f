"""Train a detector on good parts only: a folder of pictures, or sensor logs.

example:
  andon train patchcore --data parts/ --out run/
  andon train patchcore --data parts/ --out run/ --ignore date.png   # also a rectangle in pixels: --ignore 40,30,260,90
  andon train pixel_knn --data mnist:anomaly=5,root=data/mnist --out run/   # also fashion_mnist, cifar10, classes:PATH
  andon train conv_vae --data mnist --anomaly 5 --root data/mnist --out run/   # the same data set, written as flags
  andon train whitening --data good-log.csv --out run/ --steps auto   # windows chosen from the log; also 64, 2s
  andon train unet_autoencoder --data parts/ --out run/ --resume     # continue an interrupted run
  andon train unet_autoencoder --data parts/ --out run/ --watch parts/   # also plot the AUROC on parts/test by epoch

All settings of a detector are flags. List them with: andon train DETECTOR --help
"""

import argparse
from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct

from andon.cli import _class_set, _masks
from andon.cli._frame_sizes import frame_size
from andon.cli._numbers import MAX_SEED, whole
from andon.foundation.errors import ConfigError
from andon.foundation.flag_parser import FlagParser
from andon.foundation.registry import names
from andon.foundation.settings import add_flags, fields, from_flags, nearest
from andon.training.observers.epochs import Epochs, parse_epochs

_Options = TypeVar("_Options", bound=Struct)
SUMMARY = "train a detector on good parts only"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags of all detectors."""
    detectors = names("andon.detectors")
    parser.add_argument(
        "detector", metavar="DETECTOR", help="one of " + (", ".join(detectors) or "none: install andon[train]")
    )
    parser.add_argument(
        "--data", required=True, metavar="PATH", help="good parts: a folder, a tree with train/good, or a log"
    )
    _class_set.add_flags(parser)
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write")
    parser.add_argument(
        "--group",
        metavar="REGEX|CSV",
        help="files that belong to one part or lot: a regular expression with (?P<part>...) and (?P<lot>...), or a CSV file "
        "with the columns key,part,lot",
    )
    parser.add_argument(
        "--calibration-share",
        type=float,
        default=None,
        metavar="X",
        help="share of the good parts for calibration; a larger share supports a stricter promise and leaves fewer parts for "
        "training (default: 0.3, and at least 14 parts)",
    )
    parser.add_argument(
        "--frame-size",
        metavar="HxW",
        help="use only frames of this size, height x width in pixels. The model file then checks the size. Other frames are left "
        "out and named (default: frames of all sizes)",
    )
    _masks.add_flags(parser)
    parser.add_argument(
        "--detrend",
        choices=["none", "mean", "line"],
        default="none",
        help="for sensor logs: subtract the mean, or a straight line, from each channel of a window. A slow drift then rejects "
        "no good parts, but shifts that last longer than a window are no longer seen (default: none)",
    )
    parser.add_argument(
        "--context",
        metavar="CHANNEL",
        help="for sensor logs: a channel that states what the machine does, such as a recipe number or a speed. The other "
        "channels are standardised separately for each of its values or ranges. It is not judged itself, and an unknown value is "
        "INVALID",
    )
    parser.add_argument(
        "--sort",
        action="store_true",
        help="logs: sort the rows of each file by their times. Without it, a log out of order is refused",
    )
    parser.add_argument(
        "--seed",
        type=whole(0, MAX_SEED),
        default=0,
        metavar="N",
        help="random seed; the same seed on the same machine gives the same weights (default: 0)",
    )
    parser.add_argument(
        "--threads",
        type=whole(1, 64),
        default=None,
        metavar="N",
        help="threads of torch, 1 to 64 (default: 1 for sensor windows, else the default of torch)",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "mps", "auto"],
        default="auto",
        help="device for training; auto uses CUDA if there is one, mps (Apple GPUs) is untested (default: auto)",
    )
    parser.add_argument("--resume", action="store_true", help="continue an interrupted run in RUN")
    parser.add_argument(
        "--watch",
        metavar="PATH",
        help="plot the AUROC on these labelled parts by epoch (test/good and test/TYPE, or a labelled log). It is only shown: "
        "training does not use it, and the weights are the same without it",
    )
    parser.add_argument(
        "--watch-every",
        type=whole(1, 1_000_000),
        default=None,
        metavar="N",
        help="with --watch: evaluate every N-th epoch (default: as often as possible without using more "
        "than 10 %% of the training time)",
    )
    parser.add_argument(
        "--picture-epochs",
        type=_epochs,
        default=None,
        metavar="WHICH",
        help="draw reconstructions of these epochs into RUN/pictures: all, every=N, a list such as 1,10,50, or none. Unless "
        "WHICH is none, the reconstructions of the final weights are also drawn (default: 1,3,10,30,100 and so on)",
    )
    parser.add_argument(
        "--animation-epochs",
        type=_epochs,
        default=None,
        metavar="WHICH",
        help="keep pictures of these epochs for 'andon animate': all, every=N, a list such as 1,10,50, or none. The "
        "default is each epoch up to 20, each 2nd up to 50, each 5th up to 100, and so on",
    )
    parser.add_argument(
        "--checkpoint-epochs",
        type=_epochs,
        default=None,
        metavar="WHICH",
        help="keep the weights of these epochs for 'andon export RUN --epoch N': all, every=N, or a list such as 10,50 "
        "(default: only the final weights)",
    )
    parser.add_argument("--json", action="store_true", help="print a summary of the run as one JSON object")


def configure_for(parser: FlagParser, words: Sequence[str]) -> None:
    """Add the flags of the detector named on the command line. Only this help has to load torch.

    Raises:
        ConfigError: the detector is unknown. This error comes before the parser reports the detector's settings as unknown
            flags.
    """
    known = names("andon.detectors")
    given = _names_among(words, parser)
    named = next((word for word in given if word in known), None)
    if named is not None:
        recipe = _recipe(named)
        parser.description = f"{recipe.summary}\n\n{parser.description}"
        add_flags(parser, recipe.settings)
        if recipe.gives == "window":
            from andon.training.runs import window_flags

            window_flags.extend(parser)
    elif given:
        raise _no_detector(given[0])


def run(args: argparse.Namespace) -> int:
    """Train the detector and print a summary."""
    import json
    import time

    from andon.foundation.extras import needs
    from andon.foundation.progress import ProgressLine

    if args.detector not in names("andon.detectors"):
        raise _no_detector(args.detector)
    _class_set.take_in(args)
    args.frame_size = frame_size("--frame-size", args.frame_size)
    args.ignore, args.region = tuple(args.ignore), tuple(args.region)
    recipe = _recipe(args.detector)
    with needs("train", "training"):
        import safetensors  # noqa: F401 - needed at the end of training, so a missing package is reported now

        from andon.training.runs import window_flags
        from andon.training.runs.summary import findings, summary
        from andon.training.runs.train import ObserveOptions, TrainOptions, train

    args.window = window_flags.take(args)
    given = any(hasattr(args, setting.name) for setting in fields(recipe.settings))
    # a resumed run has its settings: only flags that were given are compared with them
    settings = from_flags(recipe.settings, args) if given or not args.resume else None
    start_s = time.perf_counter()
    trained = train(
        recipe,
        args.data,
        args.out,
        settings=settings,
        options=_filled(TrainOptions, args),
        observe=_filled(ObserveOptions, args),
        resume=args.resume,
        progress=ProgressLine(),
    )
    facts = summary(trained, seconds=time.perf_counter() - start_s)
    if args.json:
        print(json.dumps(facts | findings(trained)))
        return 0
    print("\n".join(f"{name:<16} {value}" for name, value in facts.items()))
    for sentence in trained.record.window.why if trained.record.window is not None else ():
        print(f"{'window':<16} {sentence}")
    print(f"next             andon export {trained.path} -o model.onnx")
    return 0


def _filled(options: type[_Options], args: argparse.Namespace) -> _Options:
    """Return an options struct. Each field gets the value of the flag with the same name."""
    return options(**{name: getattr(args, name) for name in options.__struct_fields__})


def _epochs(text: str) -> Epochs:
    try:
        return parse_epochs(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _names_among(words: Sequence[str], parser: FlagParser) -> list[str]:
    """Return the words that are neither flags nor values of known flags.

    A value, such as a data folder, may be named patchcore.
    """
    alone = {flag for flag, action in parser.flags.items() if action.nargs == 0}
    return [
        word
        for word, before in zip(words, ["", *words], strict=False)
        if not word.startswith("-") and (not before.startswith("-") or "=" in before or before in alone)
    ]


def _no_detector(name: str) -> ConfigError:
    known = names("andon.detectors")
    return ConfigError(f"unknown detector {name!r}{nearest(name, known)}. Known: {', '.join(known)}.")


def _recipe(name: str):  # type: ignore[no-untyped-def]
    from andon.foundation.extras import needs

    with needs("train", f"training {name}"):
        from andon.training.recipe.recipe import recipe

        return recipe(name)
