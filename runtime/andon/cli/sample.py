"""New good parts, drawn from what a run has learnt: to look at, to test software and people with.

Only detectors that generate can do it (such as memory_vae), and only from the run folder: a model file judges, nothing
else. A drawn part is no evidence of anything; never calibrate or evaluate with one.

example:
  andon sample run/ -o sheet.png                       # 16 parts on one picture
  andon sample run/ -o drawn/ --count 200 --seed 7     # a PNG each
  andon sample run/ -o drawn/ --count 25 --sheet       # both
  andon sample run/ -o memory.png --memory             # what the items of a memory decode to, most used first
  andon sample run/ -o early.png --epoch 5             # from a checkpoint (train --checkpoint-epochs)

With --memory each picture bears the number of its item: a verdict's evidence memory_items holds each item's share in what
the part was compared with, in the order of these numbers.
"""

import argparse
import re
from pathlib import Path

from andon.cli._numbers import MAX_SEED, whole

SUMMARY = "draw new good parts from a run, or show what its memory holds"


def configure(parser: argparse.ArgumentParser) -> None:
    """Flags."""
    parser.add_argument("run_folder", metavar="RUN", help="what 'andon train' wrote")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="DIR|FILE.png",
                        help="a folder for a PNG each, or one picture of all")  # fmt: skip
    parser.add_argument("--count", type=whole(1, 100_000), metavar="N",
                        help="how many (default 16; with --memory: all items)")  # fmt: skip
    parser.add_argument("--seed", type=whole(0, MAX_SEED), metavar="S", help="of the drawing (default 0)")
    parser.add_argument("--epoch", type=whole(1, 1_000_000_000), metavar="N",
                        help="a checkpoint instead of the weights that stayed")  # fmt: skip
    parser.add_argument("--sheet", action="store_true", help="besides, sheet.png in the folder, with all of them")
    parser.add_argument("--memory", action="store_true", help="what the memory holds, instead of new parts")


def run(args: argparse.Namespace) -> int:
    """Draw, write, tell where."""
    from andon.foundation.errors import ConfigError
    from andon.foundation.extras import needs

    with needs("train", "sampling"):
        import matplotlib as mpl  # noqa: F401

        from andon.drawing.contact_sheet import MOST_ON_A_SHEET, contact_sheet
        from andon.sources.pictures.encode import write_png
        from andon.training.observers.curves import save
        from andon.training.runs.run_folder import load
        from andon.training.sampling.sample import held, sample

    one_picture = args.out.suffix.lower() == ".png"
    if one_picture and args.out.is_dir():
        raise ConfigError(f"{args.out} is a folder: expected the name of a picture, or a folder without .png.")
    if not one_picture and (args.out.suffix or args.out.is_file()):
        raise ConfigError(f"--out: expected a folder, or a FILE.png, got {args.out}.")
    if one_picture and args.sheet:
        raise ConfigError(f"{args.out} is the sheet already: leave out --sheet, or give a folder.")
    if args.memory and args.seed is not None:
        raise ConfigError("--memory draws nothing: leave out --seed.")
    if not one_picture:
        _refuse_earlier_ones(args.out)
    loaded = load(args.run_folder, epoch=args.epoch)
    if args.memory:
        shown = held(loaded)
        pictures, of = shown.pictures[: args.count], len(shown.items)
        names = [f"item_{number:04}" for number in shown.items]
        captions = [f"{item}: {100 * share:.1f} %" for item, share in zip(shown.items, shown.shares, strict=True)]
        title = f"item: its share of what training parts read; {{shown}} of {of} items, most used first"
    else:
        count = 16 if args.count is None else args.count
        pictures = sample(loaded, count, seed=args.seed or 0)
        names, captions = [f"{number:05}" for number in range(count)], []
        title = f"{{shown}} drawn parts, seed {args.seed or 0}"
    if one_picture or args.sheet:
        some = pictures[:MOST_ON_A_SHEET]
        sheet = contact_sheet(some, captions[: len(some)], title=title.format(shown=len(some)))
        save(sheet, args.out if one_picture else args.out / "sheet.png")
    if not one_picture:
        for name, picture in zip(names, pictures, strict=False):
            write_png(args.out / f"{name}.png", picture)
    print(f"written     {args.out}: {len(pictures)} {'items' if args.memory else 'parts'}")
    return 0


def _refuse_earlier_ones(folder: Path) -> None:
    """Pictures of two calls in one folder would pass for one sample."""
    from andon.foundation.errors import ConfigError

    earlier = sorted(path.name for path in folder.glob("*.png") if _OURS.fullmatch(path.name))
    if earlier:
        many = (
            "1 picture of an earlier sample lies"
            if len(earlier) == 1
            else f"{len(earlier)} pictures of an earlier sample lie"
        )
        raise ConfigError(
            f"{folder}: {many} there, such as {earlier[0]}, and would pass for what is drawn now: give another folder, or remove "
            "them."
        )


_OURS = re.compile(r"(item_[0-9]{4,}|[0-9]{5,})\.png")
