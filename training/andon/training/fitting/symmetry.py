"""Which mirrorings and turns leave a kind of part as it is: declared, or told from good pictures alone.

A bottle from above looks good however it lies; a pill with letters does not. Moving good pictures by the symmetries of
their kind makes many out of few; by any other move it would teach that a defect is good. Pictures alone tell little, so
`symmetries` is strict. Textures, whose pictures do not lie alike, have none; and a lamp that shines from one side is enough
for it to say no: a bottle turned by a quarter is 1.6 times as far from its nearest as bottles are from each other, a pill
with mirrored letters 1.3 times.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from andon.sources.opencv import opencv


class Move(NamedTuple):
    """Mirrored left to right or not, then turned about the middle."""

    mirrored: bool
    degrees: int
    """Counter-clockwise, 0 to 359."""


NONE = Move(mirrored=False, degrees=0)
ALL = tuple(Move(mirrored, degrees) for mirrored in (False, True) for degrees in range(0, 360, 15))
Symmetry = Literal["auto", "none", "mirror", "quarters", "turns"]
DECLARED: dict[str, tuple[Move, ...]] = {
    "none": (NONE,),
    "mirror": (NONE, Move(mirrored=True, degrees=0)),
    "quarters": tuple(move for move in ALL if move.degrees % 90 == 0),
    "turns": ALL,
}
SIDE = 48
"""Of the thumbnails that are compared."""
TOLERANCE = 1.1
"""How much farther than other good pictures are from each other a moved one may be from its nearest."""
FEWEST = 8


def moved(picture: NDArray[np.uint8], move: Move) -> NDArray[np.uint8]:
    """``[S, S, C]`` moved; what a turn brings in from beyond the corners is the picture's edge, drawn out."""
    cv2 = opencv()
    mirrored = picture[:, ::-1] if move.mirrored else picture
    if move.degrees % 90 == 0:
        return np.ascontiguousarray(np.rot90(mirrored, move.degrees // 90))
    side = picture.shape[0]
    middle = ((side - 1) / 2, (side - 1) / 2)
    turn = cv2.getRotationMatrix2D(middle, float(move.degrees), 1.0)
    turned: NDArray[np.uint8] = cv2.warpAffine(
        np.ascontiguousarray(mirrored), turn, (side, side), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return turned.reshape(picture.shape)


def symmetries(pictures: Sequence[NDArray[np.uint8]]) -> tuple[Move, ...]:
    """The moves after which a good picture is as near to another good one as good pictures are to each other.

    Args:
        pictures: uint8 ``[S, S, C]``, square and of one size; a few dozen. Fewer than 8 tell nothing: no move but `NONE`.
    """
    cv2 = opencv()
    if len(pictures) < FEWEST or pictures[0].shape[0] != pictures[0].shape[1]:
        return (NONE,)
    small = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    still = np.stack([_row(picture, NONE) for picture in small])
    usual = np.median(_nearest(still, still))
    aside = [np.roll(picture, (SIDE // 4, SIDE // 4), axis=(0, 1)) for picture in small]
    if np.median(_nearest(np.stack([_row(picture, NONE) for picture in aside]), still)) <= TOLERANCE * usual:
        return (NONE,)  # a texture: pictures that have no place of their own are as near however they are turned
    return tuple(
        move
        for move in ALL
        if move == NONE
        or np.median(_nearest(np.stack([_row(picture, move) for picture in small]), still)) <= TOLERANCE * usual
    )


def _row(small: NDArray[np.uint8], move: Move) -> NDArray[np.float32]:
    return moved(small, move).astype(np.float32).ravel()


def _nearest(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Distance of each picture to the nearest of the others, its own moved self left out."""
    squares = (some**2).sum(axis=1)[:, np.newaxis] + (others**2).sum(axis=1) - 2 * some @ others.T
    np.fill_diagonal(squares, np.inf)
    return np.asarray(np.sqrt(np.maximum(squares.min(axis=1), 0.0)), np.float32)
