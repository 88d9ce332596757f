"""The part of a frame that a model file uses."""

Crop = tuple[float, float, float, float]
"""Left, top, right, bottom as fractions of the frame."""
WHOLE: Crop = (0.0, 0.0, 1.0, 1.0)


def window(size: tuple[int, int], crop: Crop) -> tuple[slice, slice]:
    """Return rows and columns of the crop in a frame of ``(height, width)``, with the integer arithmetic of the graph.

    >>> window((101, 50), (0.1, 0.0, 1.0, 0.5))
    (slice(0, 50, None), slice(5, 50, None))
    """
    height, width = size
    left, top, right, bottom = (round(10_000 * share) for share in crop)
    return slice(height * top // 10_000, height * bottom // 10_000), slice(
        width * left // 10_000, width * right // 10_000
    )
