"""Give the input of a detector its ignore mask and region, for frames of one size."""

import logging
from typing import NamedTuple

from msgspec.structs import replace

from andon.export.masks import judged_cells
from andon.export.tile_grid import canvas
from andon.foundation.errors import ConfigError, DataError
from andon.runtime.mask_pixels import judged_pixels
from andon.runtime.schema import FrameSpec, InputSpec, Mask
from andon.sources.collection import Found, FoundFrames
from andon.sources.pictures.mask_picture import mask_of

logger = logging.getLogger(__name__)


class Masks(NamedTuple):
    """Ignore mask and region as the user gave them (`mask_picture.mask_of`), or as an interrupted run recorded them."""

    ignore: tuple[str, ...] | Mask = ()
    region: tuple[str, ...] | Mask = ()


NO_MASKS = Masks()


def with_masks(spec: InputSpec, masks: Masks, found: Found, *, cell: int) -> InputSpec:
    """Return the spec with the masks. Log which share of the frame is judged.

    Args:
        spec: the input that the detector wants.
        masks: ignore mask and region. Without any, the spec is returned as it is.
        found: the good parts.
        cell: side of one cell of the finest map, in pixels of the network's input.

    Raises:
        ConfigError: the detector judges windows of logs.
        DataError: the frames have several sizes, a mask does not fit, or nothing is left to judge.
    """
    flags = _flags(masks)
    if not flags:
        return spec
    if not isinstance(spec, FrameSpec):
        raise ConfigError(f"{flags}: expected frames, got sensor logs. Leave out {flags}.")
    fitted = fitted_to(masks, found)
    spec = with_pixels(spec, fitted)
    height, width = spec.size if spec.tiles is None else canvas(spec, spec.tiles)
    judged_cells(spec, (max(1, height // cell), max(1, width // cell)))  # refuses a mask that leaves nothing
    judged = judged_pixels(spec)
    assert judged is not None
    logger.info("%s: %.1f %% of the frame's %d x %d pixels are judged", flags, 100 * judged.mean(), *judged.shape)
    return spec


def with_pixels(spec: FrameSpec, masks: Masks) -> FrameSpec:
    """Return the spec with masks whose pixels were read (`fitted_to`)."""
    return replace(spec, ignore=_or_none(masks.ignore), region=_or_none(masks.region))


def fitted_to(masks: Masks, found: Found) -> Masks:
    """Return the masks with their pixels read, for frames of one size.

    Raises:
        ConfigError: the data are logs.
        DataError: the frames have several sizes, or a mask does not fit.
    """
    flags = _flags(masks)
    if not flags:
        return masks
    if not isinstance(found, FoundFrames):
        raise ConfigError(f"{flags}: expected frames, got sensor logs. Leave out {flags}.")
    size = found.frame_size
    if size is None:
        listed = ", ".join(f"{height}x{width}" for (height, width), _ in found.sizes[:4]) or "several sizes"
        raise DataError(
            f"{flags}: expected frames of one size, because a mask belongs to one size, got {listed}. Give frames of "
            "one size. andon train can choose one: --frame-size 1080x1920."
        )
    ignore, region = (
        _mask(given, size, flag=f"--{name}") if given else () for name, given in zip(masks._fields, masks, strict=True)
    )
    return Masks(ignore, region)


def _or_none(given: tuple[str, ...] | Mask) -> Mask | None:
    return given if isinstance(given, Mask) else None


def _flags(masks: Masks) -> str:
    return " and ".join(f"--{name}" for name, given in zip(masks._fields, masks, strict=True) if given)


def _mask(given: tuple[str, ...] | Mask, size: tuple[int, int], *, flag: str) -> Mask:
    if not isinstance(given, Mask):
        return mask_of(given, size, flag=flag)
    if given.frame_size != size:
        raise DataError(
            f"{flag}: expected a mask of the frame's size, {size[0]} x {size[1]} (height x width), got one of "
            f"{given.frame_size[0]} x {given.frame_size[1]}."
        )
    return given
