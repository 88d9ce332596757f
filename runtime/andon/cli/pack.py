"""Pack a folder of pictures into Parquet files for andon score --out.

Millions of small files cost as much to open as to judge, on disks and in object stores. The bytes of the pictures are kept.

example:
  andon pack shift/ shift.parquet --line L3 --lot 2026-11
  andon score bottle.onnx shift.parquet --out results/

columns:

  item_id      Path of the picture within the folder, after the value of --prefix.
  bytes        The picture file, without a change. Empty if it cannot be read; it is then INVALID.
  captured_at  Time of the photo in its EXIF data, or else the time of change of the file.
  line, lot    The values of --line and --lot.
  label        The value of --label. By default the name of the picture's folder, if the folder has a layout with good/.
"""

import argparse
import json
from pathlib import Path

from andon.cli._numbers import whole

SUMMARY = "pack a folder of pictures into Parquet files"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="folder of pictures")
    parser.add_argument("out", metavar="OUT.parquet", type=Path,
                        help="file to write; several files are named OUT-1-of-3.parquet and so on")  # fmt: skip
    parser.add_argument(
        "--shard-mb",
        type=whole(1, 4096),
        default=256,
        metavar="MB",
        help="size of a file in MB, 1 to 4096 (default: 256)",
    )
    parser.add_argument("--line", metavar="NAME", help="write this line into all rows")
    parser.add_argument("--lot", metavar="NAME", help="write this lot into all rows")
    parser.add_argument("--label", metavar="NAME",
                        help="write this label into all rows (default: the folders, if there is a folder good/)")  # fmt: skip
    parser.add_argument("--prefix", default="", metavar="TEXT",
                        help="text before each item_id, to keep the names of several folders apart (default: none)")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the result as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Pack, and print what was written. Return exit code 3 if some pictures could not be read."""
    import msgspec

    from andon.archive.pack import pack
    from andon.foundation.printable import printable
    from andon.foundation.progress import ProgressLine

    packed = pack(
        args.folder,
        args.out,
        shard_mb=args.shard_mb,
        line=args.line,
        lot=args.lot,
        label=args.label,
        prefix=args.prefix,
        progress=ProgressLine(),
    )
    if args.json:
        print(json.dumps(msgspec.to_builtins(packed)))  # msgspec refuses names that are not UTF-8
    else:
        lost = f", {packed.unreadable} of them without bytes, because they cannot be read" if packed.unreadable else ""
        labels = "with labels from their folders" if packed.labelled and args.label is None else ""
        print(f"packed {packed.pictures} pictures{lost}{f', {labels}' if labels else ''}: {printable(packed.address)}")
    return 3 if packed.unreadable else 0
