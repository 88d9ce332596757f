"""Summarize a finished training in a few numbers. The command ``andon train`` prints them."""

import msgspec

from andon.runtime.schema import InputSpec, WindowSpec
from andon.training.runs.run_folder import LoadedRun


def summary(run: LoadedRun, *, seconds: float) -> dict[str, object]:
    """Return the results by name, in the order to print them. `seconds` is the duration of the training."""
    record = run.record
    last = dict(record.history[-1]) if record.history else {}
    figures: dict[str, object] = {
        "run": str(run.path),
        "detector": f"{record.recipe} v{record.recipe_version}",
        "train": record.readable(record.split.train),
        "validation": record.readable(record.split.validation),
        "calibration": len(record.split.calibration),
        "lost": len(record.lost),
        "copies": len(record.copies),
        **({"other_sizes": len(record.other_sizes)} if record.other_sizes else {}),
        "epochs": len(record.history),
        "seconds": round(seconds, 2),
        "seed": record.seed,
        "threads": record.threads,
        "device": record.device,
        "input": _shape(record.input),
        **_levels(record.input),
        "parameters": sum(parameter.numel() for parameter in run.scorer.parameters()),
        **{f"last_{name}": value for name, value in last.items() if name in ("train", "validation")},
    }
    if record.watched is not None:
        figures["watched_auroc"] = record.watched.kept
    return figures


def findings(run: LoadedRun) -> dict[str, object]:
    """Return the suspicious training parts and the warnings about the good parts, as plain data for JSON."""
    return {
        "window": msgspec.to_builtins(run.record.window),
        "suspects": msgspec.to_builtins(run.record.suspects),
        "warnings": msgspec.to_builtins(run.record.warnings),
    }


def _levels(spec: InputSpec) -> dict[str, object]:
    """Return the scale of frames with more than 8 bits per channel, as text."""
    if isinstance(spec, WindowSpec) or spec.dtype == "uint8":
        return {}
    return {"levels": f"uint16, {spec.black:g} is grey level 0, {spec.white:g} is 255"}


def _shape(spec: InputSpec) -> str:
    """Return the shape of the network's input for one part, as text."""
    if isinstance(spec, WindowSpec):
        return f"{spec.steps} rows x {len(spec.channels)} channels"
    tiles = "" if spec.tiles is None else f"{spec.tiles.rows} x {spec.tiles.columns} tiles of "
    return f"{tiles}{spec.channels} x {spec.size[0]} x {spec.size[1]}"
