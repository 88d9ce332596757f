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

from andon.cli import _class_set
from andon.cli._numbers import MAX_SEED, whole
from andon.foundation.errors import ConfigError
from andon.foundation.flag_parser import FlagParser
from andon.foundation.registry import names
from andon.foundation.settings import add_flags, fields, from_flags, nearest
from andon.runtime.schema import InputSpec, WindowSpec

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
        metavar="LIST",
        help="epochs whose reconstructions are drawn into RUN/pictures, as 1,10,50, beside those of the kept weights; or "
        "none (default 1,3,10,30,100 and so on)",
    )
    parser.add_argument(
        "--animation-epochs",
        type=_kept_epochs,
        default=None,
        metavar="WHICH",
        help="epochs that 'andon animate' can show: all, every=N, a list as 1,10,50, or none (default: each up to 20, each "
        "second up to 50, each fifth up to 100, and so on)",
    )
    parser.add_argument(
        "--checkpoint-epochs",
        type=_kept_epochs,
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

        from andon.training.runs.train import train

    begun_s = time.perf_counter()
    trained = train(
        recipe,
        args.data,
        args.out,
        settings=settings,
        seed=args.seed,
        group=args.group,
        calibration_share=args.calibration_share,
        device=args.device,
        threads=args.threads,
        resume=args.resume,
        watch=args.watch,
        watch_every=args.watch_every,
        picture_epochs=args.picture_epochs,
        animation_epochs=args.animation_epochs,
        checkpoint_epochs=args.checkpoint_epochs,
        progress=ProgressLine(),
    )
    record = trained.record
    last = dict(record.history[-1]) if record.history else {}
    summary = {
        "run": str(trained.path),
        "detector": f"{record.recipe} v{record.recipe_version}",
        "train": record.readable(record.split.train),
        "validation": record.readable(record.split.validation),
        "calibration": len(record.split.calibration),
        "lost": len(record.lost),
        "copies": len(record.copies),
        "epochs": len(record.history),
        "seconds": round(time.perf_counter() - begun_s, 2),
        "seed": record.seed,
        "threads": record.threads,
        "device": record.device,
        "input": _shape(record.input),
        "parameters": sum(parameter.numel() for parameter in trained.scorer.parameters()),
        **{f"last_{name}": value for name, value in last.items() if name in ("train", "validation")},
    }
    if record.watched is not None:
        summary["watched_auroc"] = record.watched.kept
    if args.json:
        print(json.dumps(summary))
        return 0
    print("\n".join(f"{name:<16} {value}" for name, value in summary.items()))
    print(f"next             andon export {trained.path} -o model.onnx")
    return 0


def _shape(spec: InputSpec) -> str:
    """What the network sees of one part."""
    if isinstance(spec, WindowSpec):
        return f"{spec.steps} rows x {len(spec.channels)} channels"
    return f"{spec.channels} x {spec.size[0]} x {spec.size[1]}"


def _epochs(text: str) -> tuple[int, ...]:
    """``1,10,50`` or ``none``."""
    if text == "none":
        return ()
    number = whole(1, 1_000_000_000)
    return tuple(sorted({number(word.strip()) for word in text.split(",")}))


def _kept_epochs(text: str) -> int | tuple[int, ...]:
    """``all``, ``every=5``, or as `_epochs`."""
    if text == "all":
        return 1
    kind, equals, number = text.partition("=")
    return whole(1, 1_000_000_000)(number) if equals and kind == "every" else _epochs(text)


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
