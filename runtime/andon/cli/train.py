"""Learn what good parts look like, from a folder of pictures or sensor logs of good parts only.

example:
  andon train patchcore --data parts/ --out run/
  andon train pixel_knn --data mnist:anomaly=5,root=data/mnist --out run/   # also fashion_mnist, cifar10, classes:PATH
  andon train conv_vae --data mnist --anomaly 5 --root data/mnist --out run/   # the same in flags
  andon train window_vae --data good-log.csv --out run/ --steps 64
  andon train unet_autoencoder --data parts/ --out run/ --resume     # goes on where it was interrupted
  andon train unet_autoencoder --data parts/ --out run/ --watch parts/   # AUROC of parts/test by epoch, never used

Every setting of a detector is a flag: andon train DETECTOR --help.
"""

import argparse
from collections.abc import Sequence
from typing import TypeVar

from msgspec import Struct

from andon.cli import _class_set
from andon.cli._numbers import MAX_SEED, whole
from andon.foundation.errors import ConfigError
from andon.foundation.flag_parser import FlagParser
from andon.foundation.registry import names
from andon.foundation.settings import add_flags, fields, from_flags, nearest
from andon.training.observers.epochs import Epochs, parse_epochs

_Options = TypeVar("_Options", bound=Struct)
SUMMARY = "learn what good parts look like"


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags of every detector."""
    detectors = names("andon.detectors")
    parser.add_argument(
        "detector", metavar="DETECTOR", help="one of " + (", ".join(detectors) or "none: install andon[train]")
    )
    parser.add_argument(
        "--data", required=True, metavar="PATH", help="good parts: a folder, a tree with train/good, a log"
    )
    _class_set.add_flags(parser)
    parser.add_argument("--out", required=True, metavar="RUN", help="the run folder")
    parser.add_argument(
        "--group",
        metavar="REGEX|CSV",
        help="which files belong to one part or lot: an expression with (?P<part>...), (?P<lot>...), or a CSV key,part,lot",
    )
    parser.add_argument(
        "--calibration-share",
        type=float,
        default=None,
        metavar="X",
        help="of the good parts, kept back for calibration: more carry a stronger promise, fewer leave more to learn from "
        "(default 0.3, 14 parts at least)",
    )
    parser.add_argument(
        "--seed",
        type=whole(0, MAX_SEED),
        default=0,
        metavar="N",
        help="same seed, same machine: same weights (default 0)",
    )
    parser.add_argument(
        "--threads",
        type=whole(1, 64),
        default=None,
        metavar="N",
        help="for torch (default: one for windows, else torch's)",
    )
    parser.add_argument(
        "--device",
        choices=["cpu", "cuda", "mps", "auto"],
        default="auto",
        help="auto takes CUDA where there is one (default); mps, Apple's GPUs, was never tried by andon's makers",
    )
    parser.add_argument("--resume", action="store_true", help="go on with an interrupted run in RUN")
    parser.add_argument(
        "--watch",
        metavar="PATH",
        help="parts of known truth (test/good and test/TYPE, or a labelled log): their AUROC is drawn by epoch, for "
        "watching only; nothing is chosen by it, and the weights are the same without",
    )
    parser.add_argument(
        "--watch-every",
        type=whole(1, 1_000_000),
        default=None,
        metavar="N",
        help="watch each N-th epoch (default: as often as a tenth of the time allows)",
    )
    parser.add_argument(
        "--picture-epochs",
        type=_epochs,
        default=None,
        metavar="WHICH",
        help="epochs whose reconstructions are drawn into RUN/pictures: all, every=N, a list as 1,10,50, or none; those of the "
        "kept weights are drawn too, unless none (default 1,3,10,30,100 and so on)",
    )
    parser.add_argument(
        "--animation-epochs",
        type=_epochs,
        default=None,
        metavar="WHICH",
        help="epochs that 'andon animate' can show: all, every=N, a list as 1,10,50, or none (default: each up to 20, each "
        "second up to 50, each fifth up to 100, and so on)",
    )
    parser.add_argument(
        "--checkpoint-epochs",
        type=_epochs,
        default=None,
        metavar="WHICH",
        help="epochs whose weights are kept for 'andon export RUN --epoch N': all, every=N, or a list as 10,50 (default: "
        "only the weights that stay in the end)",
    )
    parser.add_argument("--json", action="store_true", help="print what was learnt as one object")


def configure_for(parser: FlagParser, words: Sequence[str]) -> None:
    """Flags of the detector that is named: this is the one help that loads torch.

    Raises:
        ConfigError: no such detector; said before its settings are called unknown flags.
    """
    known = names("andon.detectors")
    given = _names_among(words, parser)
    named = next((word for word in given if word in known), None)
    if named is not None:
        recipe = _recipe(named)
        parser.description = f"{recipe.summary}\n\n{parser.description}"
        add_flags(parser, recipe.settings)
    elif given:
        raise _no_detector(given[0])


def run(args: argparse.Namespace) -> int:
    """Train."""
    import json
    import time

    from andon.foundation.extras import needs
    from andon.foundation.progress import ProgressLine

    if args.detector not in names("andon.detectors"):
        raise _no_detector(args.detector)
    _class_set.take_in(args)
    recipe = _recipe(args.detector)
    given = any(hasattr(args, setting.name) for setting in fields(recipe.settings))
    # a resumed run has its settings; only flags that were really given are held against them
    settings = from_flags(recipe.settings, args) if given or not args.resume else None
    with needs("train", "training"):
        import safetensors  # noqa: F401 - the run folder needs it in the end; said now, and not after an hour of learning

        from andon.training.runs.summary import summary
        from andon.training.runs.train import ObserveOptions, TrainOptions, train

    begun_s = time.perf_counter()
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
    told = summary(trained, seconds=time.perf_counter() - begun_s)
    if args.json:
        print(json.dumps(told))
        return 0
    print("\n".join(f"{name:<16} {value}" for name, value in told.items()))
    print(f"next             andon export {trained.path} -o model.onnx")
    return 0


def _filled(options: type[_Options], args: argparse.Namespace) -> _Options:
    """Options whose fields have the names of flags."""
    return options(**{name: getattr(args, name) for name in options.__struct_fields__})


def _epochs(text: str) -> Epochs:
    try:
        return parse_epochs(text)
    except ConfigError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _names_among(words: Sequence[str], parser: FlagParser) -> list[str]:
    """Words that are neither flags nor, as far as can be known yet, their values: a data folder may be called patchcore."""
    alone = {flag for flag, action in parser.flags.items() if action.nargs == 0}
    return [
        word
        for word, before in zip(words, ["", *words], strict=False)
        if not word.startswith("-") and (not before.startswith("-") or "=" in before or before in alone)
    ]


def _no_detector(name: str) -> ConfigError:
    known = names("andon.detectors")
    return ConfigError(f"there is no detector {name!r}{nearest(name, known)}. Known: {', '.join(known)}.")


def _recipe(name: str):  # type: ignore[no-untyped-def]
    from andon.foundation.extras import needs

    with needs("train", f"training {name}"):
        from andon.training.recipe.recipe import recipe

        return recipe(name)
