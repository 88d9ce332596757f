"""The flags of ignore mask and region, which several commands share."""

import argparse


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--ignore`` and ``--region``. Each gives a list of texts (`andon.sources.pictures.mask_picture.mask_of`)."""
    for flag, meaning in (
        ("--ignore", "pixels that do not count, such as a printed date: they have no influence on the verdict"),
        ("--region", "the only pixels that count"),
    ):
        parser.add_argument(
            flag,
            action="append",
            default=[],
            metavar="MASK",
            help=f"frames of one size: {meaning}. A black and white picture of the frame's size (white is marked), a rectangle "
            "left,top,right,bottom or a polygon x,y,x,y,x,y in pixels. Repeat the flag to mark more",
        )
