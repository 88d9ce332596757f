"""Fit the scene check of a model file: from which distance a frame as a whole counts as one of the known kinds of wrong frames.

A detector of defects compares patches. The patches of a black frame or of an empty ground can resemble patches of good parts, so
such a frame may be OK. The scene check describes the frame as a whole by `scene_features`. Each kind of wrong frame has its own
weights of the features: how much this kind changes a feature, compared with its spread over good parts. This is a diagonal
version of Fisher's linear discriminant (Fisher 1936). The weighted distance of a frame from the centre of good parts has a limit
between good and wrong frames.

The check must be fitted again when lamp or camera change, before the threshold is calibrated. Parts that fit the check do not
set the threshold, so the promise covers parts that the check makes INVALID.
"""

import logging
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from andon.calibration.wrong_frames import KINDS, OTHER_LIGHT, TURNED, wrong_frames
from andon.foundation.errors import ConfigError, InputError
from andon.foundation.progress import Progress, silent, track
from andon.runtime.detector import Detector
from andon.runtime.grey_levels import grey_levels, raw_levels
from andon.runtime.items import Item, Ref
from andon.runtime.model_file.format import ModelFile, SceneNumbers, Tail, parse, seal
from andon.runtime.model_file.pruning import only
from andon.runtime.schema import SCENE_FEATURES, FrameSpec, SceneCheck
from andon.runtime.session import open_session
from andon.sources.collection import Collection

__all__ = ["KINDS", "NO_LIMIT", "fit_scene", "scene_numbers", "unfitted"]

logger = logging.getLogger(__name__)

NO_LIMIT = float(np.finfo(np.float32).max)
"""Limit of a kind that the check does not recognise. No distance exceeds it."""
PARTS = 80
"""Largest number of good parts to fit to. More parts changed the limits little."""
LEAST_PARTS = 8
"""Smallest number of good parts to fit to. With fewer, the check has no effect."""
SPOILT = 5
"""Number of good parts from which wrong frames are made."""
FOLDS = 5
"""Each good part is compared with the centre of the parts in the other folds, as new parts are."""
TONES, COARSE = 3, 63
"""Number of features for light, contrast, sharpness, and for the grey picture. The others are deep features: their means, and
three more coefficients of each."""
TONE_FLOOR = 0.02
"""Smallest standard deviation of the tones, in logarithms."""
APART = 1.3
"""Smallest ratio between wrong and good frames for a kind to be recognised."""
APART_TURNED = 2.5
"""The same for parts in another position. Where good parts are nearly symmetric, a real defect changes as much as turning."""
TOWARDS_WRONG = 0.7
"""Place of the limit between good (0) and wrong frames (1), on a logarithmic scale. It is nearer to the wrong frames, because
a real defect is REJECT and should not become INVALID."""
TOWARDS_OTHER_LIGHT = 0.9
"""The same for other light. A lamp that ages by 10 % is harmless, but one that lost 30 % needs a new calibration."""
MARGIN, MARGIN_90 = 1.1, 1.5
"""Good frames end at this multiple of their largest distance, or of the distance that 90 % of them keep, if it is larger."""


def unfitted(count: int) -> SceneCheck:
    """Return the record of a scene check with `count` features that is not fitted yet."""
    return SceneCheck(
        features=len(KINDS) * count, limits=len(KINDS), cells=(8, 8), quantile=0.0, n=0, active=False, kinds=KINDS
    )


def fit_scene(
    data: bytes,
    parts: Collection,
    *,
    refs: Sequence[Ref] | None = None,
    threads: int = 1,
    seed: int = 0,
    progress: Progress = silent,
) -> bytes:
    """Return the model file with its scene check fitted to good parts. Threshold and promise do not change.

    A file that is in use must be calibrated again afterwards, on other parts: the promise covers parts that are INVALID by
    their content.

    Args:
        data: a model file with a scene check, blank or calibrated.
        parts: good frames.
        refs: the frames to use. None: all. At most `PARTS` of them are used.
        threads: threads of the runtime. More than one disturbs a monitor on the same machine.
        seed: seed of the choice of parts, and of the noise in wrong frames.
        progress: reports the frames that are read.

    Raises:
        ConfigError: the file has no scene check.
        JudgeError: the runtime failed although the input was valid.
    """
    model = parse(data, allow_blank=True)
    spec = model.card.input
    if not isinstance(spec, FrameSpec) or spec.scene is None:
        raise ConfigError("scene check: expected a model file with a scene check, got one without it.")
    # a small part of the graph, and of the time, for a file with tiles
    session = open_session(only(data, SCENE_FEATURES), threads=threads)
    detector = Detector(model, session, frame_size="any")
    # wrong frames are made from reduced ones, also for a file with masks or tiles, which belong to one size
    of_reduced = Detector(model, session, frame_size="any", one_size=False)
    chosen = parts.refs if refs is None else refs
    good, wrong = _measure(detector, of_reduced, spec, parts, chosen, seed=seed, progress=progress)
    count = spec.scene.features // spec.scene.limits
    if len(good) < LEAST_PARTS:
        logger.warning(
            "scene check: expected at least %d good parts, got %d. The check has no effect, so a frame without a part can be OK. "
            "Use more parts",
            LEAST_PARTS, len(good),
        )  # fmt: skip
        return _sealed(model, spec, structs.replace(unfitted(count), n=len(good)), _no_limits(count))
    numbers = scene_numbers(good, wrong)
    recognised = tuple(kind for kind, limit in zip(KINDS, numbers.limit, strict=True) if limit < NO_LIMIT)
    check = structs.replace(
        unfitted(count),
        quantile=len(good) / (len(good) + 1),
        n=len(good),
        active=bool(recognised),
        recognised=recognised,
    )
    return _sealed(model, spec, check, numbers)


def scene_numbers(good: NDArray[np.float64], wrong: Mapping[str, NDArray[np.float64]]) -> SceneNumbers:
    """Return centre, scale and limits.

    Args:
        good: features of good frames, ``[n, F]``, n >= 2.
        wrong: features of wrong frames by kind, ``[m, F]``, for each of `KINDS`.
    """
    center, variance = _moments(good)
    folds = np.arange(len(good)) % min(FOLDS, len(good))
    others = [_moments(good[folds != fold]) for fold in range(folds.max() + 1)]
    scales, limits = [], []
    for kind in KINDS:
        weights = _weights(wrong[kind], center, variance)
        apart = np.empty(len(good))
        for fold, (fold_center, fold_variance) in enumerate(others):
            inside = folds == fold
            apart[inside] = _distance(good[inside], fold_center, _weights(wrong[kind], fold_center, fold_variance))
        farthest = max(MARGIN * float(apart.max()), MARGIN_90 * float(np.quantile(apart, 0.9)), 1e-12)
        nearest = float(np.quantile(_distance(wrong[kind], center, weights), 0.05))
        ratio = nearest / farthest
        recognised = ratio > (APART_TURNED if kind in TURNED else APART)
        scales.append(np.sqrt(weights) if recognised else np.zeros_like(weights))
        towards = TOWARDS_OTHER_LIGHT if kind in OTHER_LIGHT else TOWARDS_WRONG
        limits.append(farthest * ratio**towards if recognised else NO_LIMIT)
    return SceneNumbers(
        center=np.tile(center, len(KINDS)).astype(np.float32),
        scale=np.concatenate(scales).astype(np.float32),
        limit=np.array(limits).astype(np.float32),
    )


def _moments(good: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the mean and the variance of each feature. Small variances are raised, because few parts estimate them badly."""
    variance = good.var(axis=0)
    deep = (good.shape[1] - TONES - COARSE) // 4
    edges = np.cumsum([0, TONES, COARSE, deep, 3 * deep])
    raised = [variance[:TONES] + TONE_FLOOR**2]
    for begin, end in pairwise(edges[1:]):
        block = variance[begin:end]
        raised.append(block + (block.mean() if len(block) else 0.0) + 1e-12)
    return good.mean(axis=0), np.concatenate(raised)


def _weights(
    wrong: NDArray[np.float64], center: NDArray[np.float64], variance: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the weights of the squared differences, whose products with the variances add up to 1.

    The weight is the square of the effect: how far the wrong frames are from the centre, in variances of good parts.
    """
    effect = ((wrong - center) ** 2).mean(axis=0) / variance
    shares = effect**2 / max(float((effect**2).sum()), 1e-30)
    weights: NDArray[np.float64] = shares / variance
    return weights


def _distance(
    rows: NDArray[np.float64], center: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64]:
    distance: NDArray[np.float64] = np.sqrt(((rows - center) ** 2 * weights).sum(axis=1))
    return distance


def _measure(
    detector: Detector,
    of_reduced: Detector,
    spec: FrameSpec,
    parts: Collection,
    refs: Sequence[Ref],
    *,
    seed: int,
    progress: Progress,
) -> tuple[NDArray[np.float64], dict[str, NDArray[np.float64]]]:
    """Return the features of good frames, and of wrong frames made from some of them."""
    generator = np.random.default_rng(seed)
    places = np.sort(generator.permutation(len(refs))[:PARTS])
    spoilt = (
        set(places[np.linspace(0, len(places) - 1, min(SPOILT, len(places))).astype(int)]) if len(places) else set()
    )
    good: list[NDArray[Any]] = []
    wrong: dict[str, list[NDArray[Any]]] = {kind: [] for kind in KINDS}
    for place in track(places.tolist(), progress, "scene check"):
        item = parts.read(refs[place])
        if not isinstance(item, Item):
            continue
        try:
            good.append(detector.measure([item.data], SCENE_FEATURES)[0])
        except InputError:
            continue  # a frame that the file does not accept is reported when it is scored
        if place in spoilt or not wrong[KINDS[0]]:
            for kind, frame in wrong_frames(_reduced(grey_levels(item.data, spec), max(spec.size)), generator):
                wrong[kind].append(of_reduced.measure([raw_levels(frame, spec)], SCENE_FEATURES)[0])
    return (
        np.array(good, np.float64),
        {kind: np.array(rows, np.float64) for kind, rows in wrong.items()},
    )


def _reduced(frame: NDArray[Any], size: int) -> NDArray[np.uint8]:
    """Return a large frame as the means of blocks, with at least twice the network's size. Changing it then takes less time."""
    frame = frame if frame.ndim == 3 else frame[:, :, np.newaxis]
    step = min(frame.shape[:2]) // (2 * size)
    if step < 2:
        return frame
    height, width = frame.shape[0] // step, frame.shape[1] // step
    blocks = frame[: height * step, : width * step].reshape(height, step, width, step, frame.shape[2])
    means: NDArray[np.uint8] = blocks.mean(axis=(1, 3), dtype=np.float32).astype(np.uint8)
    return means


def _no_limits(count: int) -> SceneNumbers:
    zeros = np.zeros(len(KINDS) * count, np.float32)
    return SceneNumbers(center=zeros, scale=zeros, limit=np.full(len(KINDS), NO_LIMIT, np.float32))


def _sealed(model: ModelFile, spec: FrameSpec, check: SceneCheck, numbers: SceneNumbers) -> bytes:
    card = structs.replace(model.card, input=structs.replace(spec, scene=check))
    tail = Tail(threshold=model.threshold, review=model.review, x=model.tail_x, p=model.tail_p)
    return seal(model.data, card=card, golden=model.golden, log=model.log, tail=tail, scene=numbers)
