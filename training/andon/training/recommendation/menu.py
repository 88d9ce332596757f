"""The short menu of candidates. Its order has no influence on the choice.

The menu is short on purpose. Synthetic defects rank a few sound recipes well, but not many settings: the best of 97 settings on
synthetic defects was bad on real ones (docs/lab-log.md). Tiles for large frames are not on the menu, because no detector
has them yet.
"""

MENU = (
    "pixel_knn",
    "patchcore --preset fast",
    "patchcore",
    "patchcore --length soft",
    "patchcore --preset fine",
)
"""Candidates as `parse_detector` reads them. The first one is the baseline."""
