"""`train` with the fields of its options as plain keywords: a test gives one or two of them."""

from pathlib import Path
from typing import Any

from andon.foundation.progress import Progress, silent
from andon.training.recipe.recipe import Recipe
from andon.training.runs.run_folder import LoadedRun
from andon.training.runs.train import Data, ObserveOptions, TrainOptions
from andon.training.runs.train import train as train_with


def train(
    detector: str | Recipe,
    data: Data,
    out: Path | str,
    *,
    settings: Any = None,
    resume: bool = False,
    progress: Progress = silent,
    **fields: Any,
) -> LoadedRun:
    """Train with fields of `TrainOptions` or `ObserveOptions` as keywords."""
    options = {name: fields.pop(name) for name in TrainOptions.__struct_fields__ if name in fields}
    return train_with(
        detector,
        data,
        out,
        settings=settings,
        options=TrainOptions(**options),
        observe=ObserveOptions(**fields),
        resume=resume,
        progress=progress,
    )
