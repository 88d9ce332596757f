"""Write an example of a line: a commented configuration, and a small model file that it names.

The example needs only the base install. It judges a simulated power converter. Replace its model, source and sinks by your own.

example:
  andon init
  andon check line.toml
  andon monitor line.toml
"""

import argparse
from pathlib import Path

SUMMARY = "write an example of a line's configuration that runs as it is"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", nargs="?", default="line.toml", metavar="FILE", help="new file (default: line.toml)")
    parser.add_argument(
        "--force", action="store_true", help="replace an existing FILE, and an existing power_converter.onnx next to it"
    )


def run(args: argparse.Namespace) -> int:
    """Write the files and print their names."""
    from andon.demo.example_line import write_example

    written = write_example(Path(args.file), force=args.force)
    for path in written:
        print(f"written     {path}")
    print(f"next        andon check {args.file}")
    return 0
