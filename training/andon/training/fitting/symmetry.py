"""Find the mirrorings and rotations that leave a kind of part unchanged, from a declaration or from good pictures.

A bottle seen from above looks good in any rotation; a pill with letters does not. Moving good pictures by the
symmetries of their kind turns few pictures into many. Any other move would teach that a defect is good.

Pictures alone are weak evidence, so `symmetries` is strict. Textures have no fixed position in the picture, so it finds
no symmetries for them. Light from one side is also enough to reject a move. A bottle turned by 90 degrees is 1.6 times
as far from its nearest picture as bottles are from each other. A pill with mirrored letters is 1.3 times as far.
"""

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from andon.sources.opencv import opencv


class Move(NamedTuple):
    """An optional mirroring left to right, followed by a rotation about the centre."""

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
"""Side of the thumbnails that are compared, in pixels."""
TOLERANCE = 1.1
"""Largest allowed ratio of two distances: a moved picture to its nearest good one, and good pictures to each other."""
FEWEST = 8
MASK_MOVED = 0.02
"""Largest share of the counting pixels that a move may shift across the border of the masks."""


def moved(picture: NDArray[np.uint8], move: Move) -> NDArray[np.uint8]:
    """Return a picture ``[S, S, C]`` after a move. Corners that a rotation uncovers are filled from the edge."""
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


def keeping(moves: Sequence[Move], judged: NDArray[np.bool_]) -> tuple[Move, ...]:
    """Return the moves that leave the pixels that count where they are, except for a thin border: `NONE` and possibly others.

    Any other move would put the fixed value of ignored pixels onto the part, and hide that the part is not good there.

    Args:
        moves: the moves to choose from.
        judged: the pixels that count, ``[S, S]``.
    """
    levels = np.where(judged, 255, 0).astype(np.uint8)[:, :, np.newaxis]
    return tuple(
        move
        for move in moves
        if move == NONE or np.mean((moved(levels, move)[:, :, 0] > 127) != judged) <= MASK_MOVED * judged.mean()
    )


def symmetries(pictures: Sequence[NDArray[np.uint8]]) -> tuple[Move, ...]:
    """Return the moves after which a good picture is as near to another good one as good pictures are to each other.

    Args:
        pictures: uint8 ``[S, S, C]``, square and of the same size; a few dozen. Fewer than 8 are not enough evidence: the
            only move
        is then `NONE`.
    """
    cv2 = opencv()
    if len(pictures) < FEWEST or pictures[0].shape[0] != pictures[0].shape[1]:
        return (NONE,)
    small = [cv2.resize(picture, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for picture in pictures]
    unmoved = np.stack([_row(picture, NONE) for picture in small])
    usual_distance = np.median(_nearest(unmoved, unmoved))
    shifted = [np.roll(picture, (SIDE // 4, SIDE // 4), axis=(0, 1)) for picture in small]
    if (
        np.median(_nearest(np.stack([_row(picture, NONE) for picture in shifted]), unmoved))
        <= TOLERANCE * usual_distance
    ):
        return (NONE,)  # a texture: without a fixed position, pictures are equally near after every rotation
    return tuple(
        move
        for move in ALL
        if move == NONE
        or np.median(_nearest(np.stack([_row(picture, move) for picture in small]), unmoved))
        <= TOLERANCE * usual_distance
    )


def _row(small: NDArray[np.uint8], move: Move) -> NDArray[np.float32]:
    return moved(small, move).astype(np.float32).ravel()


def _nearest(some: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the distance of each picture to the nearest of the others, except the picture that it was made from."""
    squares = (some**2).sum(axis=1)[:, np.newaxis] + (others**2).sum(axis=1) - 2 * some @ others.T
    np.fill_diagonal(squares, np.inf)
    return np.asarray(np.sqrt(np.maximum(squares.min(axis=1), 0.0)), np.float32)
