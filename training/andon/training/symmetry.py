"""Which mirrorings and turns leave a kind of part as it is, told from good pictures alone.

A bottle from above looks good however it lies; a pill with letters does not. Moving good pictures by the symmetries of
their kind makes many out of few; by any other move it would teach that a defect is good.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from andon.sources.opencv import opencv

cv2 = opencv()


class Move(NamedTuple):
    """Mirrored left to right or not, then turned by quarters."""

    mirrored: bool
    quarters: int


NONE = Move(mirrored=False, quarters=0)
ALL = tuple(Move(mirrored, quarters) for mirrored in (False, True) for quarters in range(4))
SIDE = 48
"""Of the thumbnails that are compared."""
TOLERANCE = 1.1
"""How much farther than other good pictures are from each other a moved one may be from its nearest."""
FEWEST = 8


def moved(picture: NDArray[np.uint8], move: Move) -> NDArray[np.uint8]:
    """``[H, W, C]`` moved; quarters of a turn need a square."""
    mirrored = picture[:, ::-1] if move.mirrored else picture
    return np.ascontiguousarray(np.rot90(mirrored, move.quarters))


def symmetries(pictures: Sequence[NDArray[np.uint8]]) -> tuple[Move, ...]:
    """The moves after which a good picture is as near to another good one as good pictures are to each other.

    Args:
        pictures: uint8 ``[S, S, C]``, square and of one size; a few dozen. Fewer than 8 tell nothing: no move but `NONE`.
    """
    if len(pictures) < FEWEST or pictures[0].shape[0] != pictures[0].shape[1]:
        return (NONE,)
    still = np.stack([_thumbnail(picture, NONE) for picture in pictures])
    usual = np.median(_nearest(still, still))
    return tuple(
        move
        for move in ALL
        if move == NONE
        or np.median(_nearest(np.stack([_thumbnail(picture, move) for picture in pictures]), still))
        <= TOLERANCE * usual
    )


def _thumbnail(picture: NDArray[np.uint8], move: Move) -> NDArray[np.float32]:
    small = cv2.resize(moved(picture, move), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).ravel()


def _nearest(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each picture to the nearest of the others, its own moved self left out."""
    squares = (some**2).sum(axis=1)[:, np.newaxis] + (others**2).sum(axis=1) - 2 * some @ others.T
    np.fill_diagonal(squares, np.inf)
    return np.asarray(np.sqrt(np.maximum(squares.min(axis=1), 0.0)), np.float32)
