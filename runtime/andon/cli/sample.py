"""Generate pictures of new good parts from a run, to view them, or to test software and inspectors.

This works only with generative detectors, for example memory_vae, and only with a run folder, because a model file can only
judge. Do not calibrate or evaluate with generated parts: they are not evidence about real parts.

example:
  andon sample run/ -o sheet.png                       # 16 parts in one picture
  andon sample run/ -o drawn/ --count 200 --seed 7     # one PNG per part
  andon sample run/ -o drawn/ --count 25 --sheet       # both
  andon sample run/ -o memory.png --memory             # decoded prototypes of the memory, most used first
  andon sample run/ -o early.png --epoch 5             # from a checkpoint (train --checkpoint-epochs)

With --memory the name of each picture contains the number of its prototype. In a verdict, memory_items lists, in the order of
these numbers, how much each prototype contributed to the reconstruction of the item.
"""

import argparse
import re
from pathlib import Path

from andon.cli._numbers import MAX_SEED, whole

SUMMARY = "generate new good parts from a run, or show the prototypes of its memory"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("run_folder", metavar="RUN", help="run folder from 'andon train'")
    parser.add_argument("-o", "--out", required=True, type=Path, metavar="DIR|FILE.png",
                        help="a folder for one PNG per part, or one PNG with all parts")  # fmt: skip
    parser.add_argument("--count", type=whole(1, 100_000), metavar="N",
                        help="number of parts, up to 100000 (default: 16, or all prototypes with --memory)")  # fmt: skip
    parser.add_argument("--seed", type=whole(0, MAX_SEED), metavar="S", help="seed of the generation (default: 0)")
    parser.add_argument("--epoch", type=whole(1, 1_000_000_000), metavar="N",
                        help="use the checkpoint of this epoch (default: the final weights)")  # fmt: skip
    parser.add_argument("--sheet", action="store_true", help="also write all parts into DIR/sheet.png")
    parser.add_argument("--memory", action="store_true", help="show the prototypes of the memory instead of new parts")


def run(args: argparse.Namespace) -> int:
    """Generate the parts, write them and print the output path."""
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
        raise ConfigError(
            f"--out: expected a file or a folder without .png in its name, got the folder {args.out}. Give another name."
        )
    if not one_picture and (args.out.suffix or args.out.is_file()):
        raise ConfigError(f"--out: expected a folder, or a FILE.png, got {args.out}. Example: --out sheet.png.")
    if one_picture and args.sheet:
        raise ConfigError(
            f"--sheet: expected a folder for --out, got {args.out}, which is a sheet already. Leave it out."
        )
    if args.memory and args.seed is not None:
        raise ConfigError("--memory generates no random parts. Leave out --seed.")
    if not one_picture:
        _refuse_earlier_ones(args.out)
    loaded = load(args.run_folder, epoch=args.epoch)
    if args.memory:
        shown = held(loaded)
        pictures, of = shown.pictures[: args.count], len(shown.items)
        names = [f"item_{number:04}" for number in shown.items]
        captions = [f"{item}: {100 * share:.1f} %" for item, share in zip(shown.items, shown.shares, strict=True)]
        title = f"prototype: its share in the reconstructions of training parts; {{shown}} of {of}, most used first"
    else:
        count = 16 if args.count is None else args.count
        pictures = sample(loaded, count, seed=args.seed or 0)
        names, captions = [f"{number:05}" for number in range(count)], []
        title = f"{{shown}} generated parts, seed {args.seed or 0}"
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
    """Refuse a folder with pictures of an earlier call, because a mixture would look like one sample."""
    from andon.foundation.errors import ConfigError

    earlier = sorted(path.name for path in folder.glob("*.png") if _OURS.fullmatch(path.name))
    if earlier:
        many = "1 picture" if len(earlier) == 1 else f"{len(earlier)} pictures"
        raise ConfigError(
            f"{folder}: expected a folder without earlier samples, got {many} of an earlier sample, for example {earlier[0]}. "
            "Give another folder, or remove the pictures."
        )


_OURS = re.compile(r"(item_[0-9]{4,}|[0-9]{5,})\.png")
