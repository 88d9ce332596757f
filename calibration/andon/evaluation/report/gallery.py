"""Choose the parts that a report shows, and draw each with its defect outline, its reconstruction and its heat map.

An evaluation keeps only scores. Afterwards, the chosen parts are read and judged again. So memory does not grow with the number
of parts.
"""

import heapq
import math
from collections.abc import Sequence

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from andon.drawing.style import new_figure, png_of
from andon.evaluation.judged_parts import JudgedPart
from andon.evaluation.report.page import Exhibit, ReportPicture, status_tone
from andon.foundation.progress import Progress, silent, track
from andon.runtime.crop import WHOLE, Crop, window
from andon.runtime.detector import Detector
from andon.runtime.grey_levels import grey_levels
from andon.runtime.heat_map import COOL, HOT, TRANSPARENT, colours, enlarge, hatched, overlay
from andon.runtime.heat_map import Picture as Pixels
from andon.runtime.judge import judge_items
from andon.runtime.mask_pixels import ignored_in
from andon.runtime.schema import FrameSpec, InputSpec, Status
from andon.runtime.verdict import Verdict
from andon.sources.collection import Collection
from andon.sources.opencv import opencv
from andon.sources.pictures.encode import png
from andon.sources.pictures.folder import natural
from andon.sources.truth import Truth

EACH = 6
"""Upper limit of parts in a gallery."""
SIDES = (320, 256, 200, 160, 128, 96)
"""Possible sizes of the longer side of a picture, in pixels. The first with which all pictures fit into `MAX_BYTES` is used."""
MAX_BYTES = 6_000_000
"""Upper limit for all pictures of parts together, as PNG. In the page they take a third more (base64)."""


class Gallery(Struct, frozen=True, kw_only=True):
    """Parts to show, the worst first, with a readable title and a short name for files."""

    title: str
    name: str
    text: str
    parts: tuple[JudgedPart, ...]


def choose(judged: Sequence[JudgedPart], each: int = EACH) -> list[Gallery]:
    """Choose the worst false rejects, the worst misses, and the first part of each type, at most `each` of each group.

    If there is no false reject (or no miss), choose the good parts with the highest scores (or the defects with the lowest).
    Ties are resolved by key, so that the same verdicts give the same gallery. INVALID parts are not chosen.
    """
    valid = [part for part in judged if part.status != Status.INVALID and math.isfinite(part.score)]
    good = [part for part in valid if not part.defective]
    defects = [part for part in valid if part.defective]
    false_rejects = [part for part in good if part.status == Status.REJECT]
    misses = [part for part in defects if part.status != Status.REJECT]
    galleries = []
    if good:
        worst = heapq.nsmallest(each, false_rejects or good, key=lambda part: (-part.score, part.ref.key))
        title = "False rejects" if false_rejects else "Good parts with the highest scores"
        text = (
            f"{_of(worst, false_rejects)}, highest scores first. If one of them is really defective, correct its label."
            if false_rejects
            else "No good part was rejected. These have the highest scores."
        )
        galleries.append(
            Gallery(title=title, name="false-reject" if false_rejects else "good", text=text, parts=tuple(worst))
        )
    if defects:
        worst = heapq.nsmallest(each, misses or defects, key=lambda part: (part.score, part.ref.key))
        title = "Misses" if misses else "Defects with the lowest scores"
        text = (
            f"{_of(worst, misses)}, lowest scores first."
            if misses
            else "No defect was missed. These have the lowest scores."
        )
        galleries.append(Gallery(title=title, name="miss" if misses else "defect", text=text, parts=tuple(worst)))
        first: dict[str, JudgedPart] = {}
        for part in defects:
            kept = first.get(part.kind)
            if kept is None or part.ref.key < kept.ref.key:
                first[part.kind] = part
        some = tuple(first[kind] for kind in natural(first)[:each])
        text = "The first part of each type by name, independent of its score."
        if len(first) > each:
            text += f" {each} of {len(first)} types are shown."
        galleries.append(Gallery(title="One part of each type of defect", name="type", text=text, parts=some))
    return galleries


class PartViews(Struct, frozen=True, kw_only=True):
    """One part with its pictures, small enough to keep in memory."""

    part: JudgedPart
    level: float
    threshold: float
    frame: Pixels
    """``[h, w, 3]``; the longer side is at most the first of `SIDES`."""
    outline: NDArray[np.bool_] | None = None
    """``[h, w]``, the mask of the defect."""
    map: NDArray[np.float32] | None = None
    """``[mh, mw]``, the heat map over the crop."""
    rebuilt: Pixels | None = None
    """``[rh, rw, 3]``, the reconstruction over the crop."""
    close: Pixels | None = None
    """The surroundings of the hottest place at full resolution, if the frame is so large that `frame` shows few details."""


CLOSE = 240
"""Side of a close-up in pixels of the frame. Only frames more than twice as large as the first of `SIDES` get one."""


def look_at(
    detector: Detector,
    collection: Collection,
    truth: Truth,
    parts: Sequence[JudgedPart],
    *,
    progress: Progress = silent,
) -> dict[str, PartViews]:
    """Read and judge these parts again and return them by key. Parts that cannot be read or judged any more are left out.

    Raises:
        JudgeError: the runtime failed.
    """
    shown: dict[str, PartViews] = {}
    by_key = {part.ref.key: part for part in parts}
    again = track(list(by_key.values()), progress, "drawing the worst parts")
    for one in judge_items(detector, (collection.read(part.ref) for part in again)):
        if one.judged and one.data is not None:
            key = one.ref.key
            mask = truth.mask(key) if key in truth.masks else None
            frame = grey_levels(one.data, detector.card.input)
            shown[key] = _shown(by_key[key], frame, one.verdict, mask, _crop(detector))
    return shown


def exhibits(
    galleries: Sequence[Gallery],
    shown: dict[str, PartViews],
    spec: InputSpec | None = None,
    /,
    *,
    limit: float,
    crop: Crop,
    max_bytes: int = MAX_BYTES,
) -> list[list[Exhibit]]:
    """Return the parts of each gallery with their pictures, as large as `max_bytes` for all pictures allows.

    Args:
        galleries: the chosen parts.
        shown: pictures of the parts, by key.
        spec: input of the model file. Pixels that its masks leave out are hatched.
        limit: limit of the heat maps, `heat_map.map_limit`.
        crop: part of the frame that the network uses.
        max_bytes: upper limit for all pictures together.
    """
    made: list[list[Exhibit]] = []
    for side in SIDES:
        made = [
            [
                _exhibit(
                    f"{some.name}-{number:02}", part, shown.get(part.ref.key), spec, side=side, limit=limit, crop=crop
                )
                for number, part in enumerate(some.parts, 1)
            ]
            for some in galleries
        ]
        if sum(len(picture.png) for some in made for exhibit in some for picture in exhibit.pictures) <= max_bytes:
            break
    return made


def colour_bar(limit: float, *, is_threshold: bool) -> ReportPicture:
    """Return the colour scale of all heat maps, with the place of the contour.

    Args:
        limit: limit of the heat maps, `heat_map.map_limit`.
        is_threshold: whether the limit is the threshold, `heat_map.limit_is_threshold`.
    """
    figure = new_figure(6.4, 0.95)
    axes = figure.subplots()
    scale = np.linspace(COOL, HOT, 256, dtype=np.float32)[np.newaxis]
    axes.imshow(colours(scale, 1.0), aspect="auto", extent=(COOL, HOT, 0, 1))
    axes.axvline(1.0, color="black", linewidth=5)
    axes.axvline(1.0, color="white", linewidth=2)
    axes.set_yticks([])
    name = "the threshold" if is_threshold else "99.9 % of good cells are below"
    labels = [f"{COOL * limit:.3g}\nor less", f"{limit:.3g}\n{name}", f"{HOT * limit:.3g}\nor more"]
    axes.set_xticks([COOL, 1.0, HOT], labels)
    for place, label in zip(("left", "center", "right"), axes.get_xticklabels(), strict=True):
        label.set_horizontalalignment(place)
    return ReportPicture(
        name="colour-bar.png",
        png=png_of(figure),
        alt=f"Colour scale of the heat maps, from dark blue at {COOL * limit:.3g} and below, over red at {limit:.3g}, "
        f"to yellow at {HOT * limit:.3g} and above.",
        caption=f"The same scale for all heat maps here. Overlays colour only places above {TRANSPARENT * limit:.3g}. "
        f"A white line with a black border surrounds the places above {limit:.3g}.",
        shown="bar",
    )


def facts(part: JudgedPart, level: float, threshold: float) -> tuple[tuple[str, str], ...]:
    """Return the facts that appear above the pictures of a part. Level and threshold are NaN if unknown."""
    rows = [
        ("truth", part.kind if part.defective else "good"),
        ("outcome", outcome(part)),
        ("score", f"{part.score:.5g}" + (f" (threshold {threshold:.5g})" if math.isfinite(threshold) else "")),
    ]
    if math.isfinite(level):
        rows.append(("level", f"{level:.3f} (1 is the threshold)"))
    return tuple(rows)


def outcome(part: JudgedPart) -> str:
    """Return in words whether the verdict was right."""
    if part.status == Status.INVALID:
        return "not judged"
    if part.status == Status.REJECT:
        return "found" if part.defective else "false reject"
    return "missed" if part.defective else "passed"


def _of(shown: Sequence[JudgedPart], every: Sequence[JudgedPart]) -> str:
    return (
        f"The worst {len(shown)} of {len(every)}"
        if len(shown) < len(every)
        else f"All {len(every)}"
        if len(every) > 1
        else "The only one"
    )


def _crop(detector: Detector) -> Crop:
    spec = detector.card.input
    return spec.crop if isinstance(spec, FrameSpec) else WHOLE


def _shown(part: JudgedPart, frame: Pixels, verdict: Verdict, mask: NDArray[np.bool_] | None, crop: Crop) -> PartViews:
    small = _rgb(_shrunk(frame, SIDES[0]))
    if max(small.shape[:2]) < SIDES[-1]:
        # enlarge a tiny picture, such as a digit of 28 pixels, by whole factors, so that outline and heat map have room
        times = -(-SIDES[-1] // max(small.shape[:2]))
        small = np.repeat(np.repeat(small, times, axis=0), times, axis=1)
    outline = None
    if mask is not None and mask.any():
        cv2 = opencv()
        # average instead of picking pixels: a scratch of one pixel must not get lost
        covered = cv2.resize(mask.astype(np.float32), small.shape[1::-1], interpolation=cv2.INTER_AREA)
        outline = covered > min(0.25, float(covered.max()) / 2)
    rebuilt = verdict.evidence.get("reconstruction")
    anomaly_map = verdict.evidence.get("anomaly_map")
    if anomaly_map is not None and (anomaly_map.ndim != 2 or not anomaly_map.size):
        anomaly_map = None
    large = max(frame.shape[:2]) > 2 * SIDES[0]
    return PartViews(
        part=part,
        level=verdict.level,
        threshold=verdict.threshold,
        frame=small,
        outline=outline,
        map=np.array(anomaly_map, np.float32) if anomaly_map is not None else None,
        close=_close(frame, anomaly_map, crop) if large and anomaly_map is not None else None,
        rebuilt=_rgb(np.nan_to_num(rebuilt).clip(0, 255).round().astype(np.uint8))
        if rebuilt is not None and rebuilt.ndim == 3 and rebuilt.shape[2] in (1, 3)
        else None,
    )


def _close(frame: Pixels, anomaly_map: NDArray[np.float32], crop: Crop) -> Pixels:
    """Return at most `CLOSE` x `CLOSE` pixels around the hottest cell."""
    rows, columns = window((frame.shape[0], frame.shape[1]), crop)
    cell = np.unravel_index(int(np.argmax(anomaly_map)), anomaly_map.shape)
    corner = []
    for at, cells, inside, whole in zip(cell, anomaly_map.shape, (rows, columns), frame.shape[:2], strict=True):
        middle = inside.start + (int(at) + 0.5) * (inside.stop - inside.start) / cells
        corner.append(int(np.clip(round(middle) - CLOSE // 2, 0, max(0, whole - CLOSE))))
    # copy, so that the large frame can be freed
    return _rgb(frame[corner[0] : corner[0] + CLOSE, corner[1] : corner[1] + CLOSE]).copy()


def _exhibit(
    name: str,
    part: JudgedPart,
    shown: PartViews | None,
    spec: InputSpec | None,
    *,
    side: int,
    limit: float,
    crop: Crop,
) -> Exhibit:
    pictures = []
    if shown is not None:
        frame = _shrunk(shown.frame, side)
        size = frame.shape[:2]
        ignored = ignored_in(spec, size)
        hatches = "" if ignored is None else ", ignored pixels hatched"
        views = [
            (
                "input",
                _outlined(frame if ignored is None else hatched(frame, ignored), shown.outline),
                "input" + (", defect outlined" if shown.outline is not None else "") + hatches,
            )
        ]
        if shown.rebuilt is not None:
            views.append(("rebuilt", _placed(shown.rebuilt, size, crop), "reconstruction"))
        if shown.map is not None:
            heat = colours(enlarge(shown.map, _inside(size, crop)), limit)
            placed = _placed(heat, size, crop)
            views.append(("map", placed if ignored is None else hatched(placed, ignored), "heat map"))
            mixed = overlay(frame, shown.map, limit, crop=crop, ignored=ignored)
            views.append(("overlay", mixed, "heat map over the input"))
        if shown.close is not None:
            views.append(("close", _shrunk(shown.close, side), "close-up of the hottest place"))
        pictures = [
            ReportPicture(
                name=f"{name}-{view}.png",
                png=png(np.ascontiguousarray(pixels)),
                alt=f"{part.ref.key}: {caption}",
                caption=caption,
                shown="photo",
            )
            for view, pixels, caption in views
        ]
    return Exhibit(
        key=part.ref.key,
        status=part.status.name,
        tone=status_tone(part.status),
        facts=facts(part, *((shown.level, shown.threshold) if shown else (math.nan, math.nan)))
        + (() if shown else (("picture", "could not be read again"),)),
        pictures=tuple(pictures),
    )


def _outlined(frame: Pixels, mask: NDArray[np.bool_] | None) -> Pixels:
    """Draw a white line with a black border around the mask, so that it is visible on every background."""
    if mask is None:
        return frame
    cv2 = opencv()
    height, width = frame.shape[:2]
    small = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    marked = (small > min(0.25, float(small.max()) / 2)).astype(np.uint8)
    # draw around the defect, not on it
    grown = cv2.dilate(marked, np.ones((5, 5), np.uint8))
    contours, _ = cv2.findContours(grown, cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn: Pixels = np.ascontiguousarray(frame.copy())
    cv2.drawContours(drawn, contours, -1, (0, 0, 0), 3)
    cv2.drawContours(drawn, contours, -1, (255, 255, 255), 1)
    return drawn


def _placed(inner: Pixels, size: tuple[int, int], crop: Crop) -> Pixels:
    """Place a picture of the cropped view into the frame, with grey around it."""
    cv2 = opencv()
    rows, columns = window(size, crop)
    whole: Pixels = np.full((*size, 3), 128, np.uint8)
    height, width = _inside(size, crop)
    whole[rows, columns] = cv2.resize(
        inner, (width, height), interpolation=cv2.INTER_AREA if height < inner.shape[0] else cv2.INTER_LINEAR
    )
    return whole


def _inside(size: tuple[int, int], crop: Crop) -> tuple[int, int]:
    rows, columns = window(size, crop)
    return rows.stop - rows.start, columns.stop - columns.start


def _shrunk(frame: Pixels, side: int) -> Pixels:
    height, width = frame.shape[:2]
    factor = side / max(height, width)
    if factor >= 1:
        return frame
    cv2 = opencv()
    small: Pixels = cv2.resize(
        frame, (max(1, round(width * factor)), max(1, round(height * factor))), interpolation=cv2.INTER_AREA
    )
    return small


def _rgb(frame: Pixels) -> Pixels:
    flat = frame.reshape(*frame.shape[:2], -1)
    return np.repeat(flat, 3, axis=2) if flat.shape[2] == 1 else flat
