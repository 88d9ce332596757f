"""Show the content of a model file: what it judges, what it promises, and its origin.

example:
  andon inspect bottle.onnx
  andon inspect bottle.onnx --json | jq .calibration
"""

import argparse
import json
import math
from typing import Any

import msgspec

from andon.runtime.calibration_facts import percent
from andon.runtime.model_file.format import ModelFile, read
from andon.runtime.schema import (
    RAW_SCORE,
    SCENE_FEATURES,
    Card,
    Context,
    FrameSpec,
    Mask,
    OutsideCheck,
    SceneCheck,
    WindowSpec,
)

SUMMARY = "show what a model file judges, what it promises, and its origin"


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.add_argument("file", metavar="FILE.onnx", help="model file")
    parser.add_argument(
        "--json", action="store_true", help="print metadata, threshold, digests and size as one JSON object"
    )


def run(args: argparse.Namespace) -> int:
    """Check the file and print its content."""
    model = read(args.file)
    print(json.dumps(facts(model)) if args.json else render(model))
    return 0


def facts(model: ModelFile) -> dict[str, Any]:
    """Return the object that ``--json`` prints."""
    card: dict[str, Any] = msgspec.to_builtins(model.card)
    return card | {
        "promise": model.card.calibration.sentence if model.card.calibration else None,
        "statements": dict(model.card.calibration.further_sentences) if model.card.calibration else {},
        "drawn": model.card.calibration.drawn if model.card.calibration else None,
        "threshold": model.threshold,
        "pass_limit": model.review,
        "digest": model.digest,
        "file_sha256": model.file_sha256,
        "graph_sha256": model.graph_sha256,
        "size_bytes": len(model.data),
        "calibrations": len(model.log),
    }


def render(model: ModelFile) -> str:
    """Return the content of a model file as readable text."""
    card, calibration = model.card, model.card.calibration
    rows: list[tuple[str, str]] = [("name", f"{card.name}  ({card.detector} v{card.detector_version})")]
    if isinstance(card.input, FrameSpec):
        rows.extend(_frames(card.input))
        if card.memory_mb is not None:
            rows.append(("memory", f"about {card.memory_mb:.0f} MB for a process that judges one frame at a time"))
    else:
        rows.extend(_windows(card.input))
        rows.append(("outside", _outside(card.input.outside)))
    if calibration is not None:
        rows.append(("promise", calibration.sentence))
        rows.extend(calibration.further_sentences)
        rows.extend(("audit", sentence) for sentence in calibration.audit_sentences)
        rows.append(("parts", f"{calibration.drawn}; {calibration.invalid_sentence}"))
        if calibration.sampling is not None and calibration.sampling.steadiness is not None:
            rows.append(("steady", calibration.sampling.steadiness.sentence))
        if calibration.drift is not None:
            rows.append(("drift", calibration.drift.sentence))
        if calibration.health is not None:
            rows.append(("health", f"statistics of {calibration.health.n} good frames, for the limits of --health"))
        if calibration.channel_health:
            rows.append(("health", f"statistics of {len(calibration.channel_health)} channels over the good windows"))
        if calibration.above < 2 and calibration.promised:
            steady = _steady(calibration.alpha, calibration.confidence)
            alone = (
                f"One {calibration.unit} alone sets" if not calibration.above else f"Two {calibration.unit}s alone set"
            )
            rows.append(
                (
                    "note",
                    f"{alone} this threshold. About {steady} calibration {calibration.unit}s would make it robust.",
                )
            )
        if calibration.review is not None:
            rows.append(("pass limit", f"{model.review:.9g}   (a higher score is REVIEW, up to the threshold)"))
        rows.append(
            ("threshold", f"{model.threshold:.9g}   (a typical good part scores {calibration.good_median:.4g})")
        )
        only = (
            ": the promise is valid on this type of device only"
            if calibration.promised and calibration.provider
            else ""
        )
        rows.append(("calibrated", f"{calibration.date}, on {card.provider}, {card.precision}{only}"))
    rows.append(("score", _score(card)))
    if card.checkpoint_epoch is not None:
        rows.append(
            (
                "note",
                f"weights of the checkpoint of epoch {card.checkpoint_epoch}, not the final weights of the training",
            )
        )
    rows.extend(("note", note) for note in card.notes)
    rows.append(("evidence", ", ".join(name for name in card.outputs if name not in (RAW_SCORE, SCENE_FEATURES))))
    if any(name.startswith("score_") for name in card.outputs):
        rows.append(("", "score_NAME: the score or the pooled map NAME of the detector. It does not decide"))
    rows.extend(("weights", f"{weight.name}, {weight.licence}, sha256 {weight.sha256[:12]}") for weight in card.weights)
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in sorted(card.versions.items()))))
    rows.append(("log", f"{len(model.log)} calibration{'s' if len(model.log) != 1 else ''}, unbroken"))
    rows.append(("digest", f"{model.digest[:12]}   file {model.file_sha256[:12]}   graph {model.graph_sha256[:12]}"))
    rows.append(("size", f"{len(model.data) / 1e6:.2f} MB"))
    return "\n".join(f"{label:<11} {text}" for label, text in rows)


def _frames(spec: FrameSpec) -> list[tuple[str, str]]:
    colour = "RGB" if spec.channels == 3 else "grey"
    frame = f"{spec.frame_size[0]} x {spec.frame_size[1]}" if spec.frame_size else "any size"
    size = f"{spec.size[0]} x {spec.size[1]} px (height x width)"
    if spec.tiles is None:
        rows = [("judges", f"{colour} frames, {frame}, resized to {size}")]
    else:
        rows = [
            ("judges", f"{colour} frames, {frame}, cut into tiles of {size}"),
            (
                "tiles",
                f"{spec.tiles.rows} rows x {spec.tiles.columns} columns with an overlap of {spec.tiles.overlap} px",
            ),
            ("", f"{spec.tiles.chunk} tiles are judged at a time"),
        ]
        if spec.tiles.left_out:
            verbs = ("has", "is") if spec.tiles.left_out == 1 else ("have", "are")
            text = f"{spec.tiles.left_out} of the tiles {verbs[0]} no pixel that counts and {verbs[1]} left out"
            rows.append(("", text))
    if spec.dtype == "uint16":
        scale = f"{spec.black:g} becomes grey level 0, {spec.white:g} becomes 255"
        rows.append(("levels", f"uint16 (10 to 16 bits per channel): {scale}"))
    masks = (("ignore", spec.ignore), ("region", spec.region))
    rows.extend((name, _mask(name, mask)) for name, mask in masks if mask is not None)
    rows.append(("scene", _scene(spec.scene)))
    return rows


def _score(card: Card) -> str:
    """Return the rule of the deciding score."""
    if card.reading.map is None:
        return str(card.reading.score)
    share = percent(card.reading.share)
    pooled = {"mean": "mean", "max": "maximum", "top": f"mean of the highest {share}"}[card.reading.pool]
    if isinstance(card.input, FrameSpec) and card.input.tiles is not None:
        return f"largest value of all tiles: {pooled} of {card.reading.map} in a tile"
    return f"{pooled} of {card.reading.map}"


def _windows(spec: WindowSpec) -> list[tuple[str, str]]:
    names = ", ".join(f"{channel.name}{f' [{channel.unit}]' if channel.unit else ''}" for channel in spec.channels)
    rows = [
        ("judges", f"windows of {spec.steps} steps every {spec.hop}, {spec.period_s:g} s apart"),
        ("channels", names),
    ]
    if spec.detrend != "none":
        rows.append(("detrend", _DETREND[spec.detrend]))
    if spec.context is not None:
        rows.append(("context", _context(spec.context)))
    return rows


_DETREND = {
    "mean": "each channel less its mean over the window; a shift that lasts longer than a window is not seen",
    "line": "each channel less a straight line over the window; a shift or drift that lasts longer than a window is not seen",
}


def _context(context: Context) -> str:
    """Return how a context channel conditions the others."""
    bounds = ", ".join(f"{bound:.6g}" for bound in context.bounds)
    known = f"the values {bounds}" if context.by == "value" else f"{context.states} ranges with the limits {bounds}"
    return (
        f"the channels are standardised separately for {known} of {context.channel}; another value is INVALID, and "
        f"{context.channel} itself is not judged"
    )


def _mask(name: str, mask: Mask) -> str:
    """Return what a mask marks, and its digest."""
    what = "do not count" if name == "ignore" else "count, and no others"
    size = f"{mask.frame_size[0]} x {mask.frame_size[1]}"
    return f"{100 * mask.share:.3g} % of the {size} pixels {what}   (sha256 {mask.sha256[:12]})"


def _scene(check: SceneCheck | None) -> str:
    """Return which wrong frames the file makes INVALID, and which look too similar to good ones."""
    if check is None:
        return "no scene check: a frame without a part, or a dark or covered one, can be OK"
    if not check.active:
        return f"the scene check has no effect (fitted to {check.n} parts): a frame without a part can be OK"
    others = [kind for kind in check.kinds if kind not in check.recognised]
    similar = f". Good parts are too similar to check for: {', '.join(others)}" if others else ""
    return f"INVALID if {', '.join(check.recognised)}{similar} (fitted to {check.n} parts)"


def _outside(check: OutsideCheck | None) -> str:
    """Return what the file does with windows far outside the good ones."""
    if check is None:
        return "no check for windows far outside the good ones: only the score decides"
    return (
        f"REJECT (outside_training) if a value is more than {check.values:g} x the good range beyond it, or if the spread or the "
        f"largest step of a channel is more than {check.spread:g} x or {check.rate:g} x the highest good one"
    )


def _steady(alpha: float, confidence: float) -> int:
    """Return the number of parts for a robust threshold, 2.1 times the minimum: two scores may then be above the threshold."""
    return math.ceil(2.1 * math.log(1 - confidence) / math.log1p(-alpha))
