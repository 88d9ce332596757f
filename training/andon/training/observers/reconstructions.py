"""Draw how the network reconstructs a few parts, at selected epochs. The parts are always the same, to compare epochs."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from andon.export.pooling import Pool
from andon.export.preprocessing import Restore
from andon.runtime.schema import InputSpec, ScoreRule, WindowSpec
from andon.sources.pictures.folder import GOOD
from andon.training.fitting.device import preserve_state
from andon.training.observers.curves import save
from andon.training.observers.epochs import DECADES, NONE, Epochs
from andon.training.observers.reconstruction_plots import GoodMaps, Rebuilt, rebuilt_frames, rebuilt_windows
from andon.training.observers.watching import Labelled
from andon.training.recipe.recipe import TrainingData

logger = logging.getLogger(__name__)

RECONSTRUCTION = "reconstruction"
"""Name of the evidence image that is drawn. Scorers without it get no pictures."""
PARTS = 4
MEASURED = 32
"""Number of good parts whose maps set the colour scale."""
QUANTILE = 0.999
"""Quantile of the values of these maps that sets the scale, as for `map_scale` of a model file."""
USUAL = DECADES
_BATCH = 8


class ReconstructionPictures:
    """Writes the reconstruction pictures of a run: ``epoch_0010.png`` and so on, and ``kept.png`` at the end."""

    def __init__(
        self,
        folder: Path,
        good: TrainingData,
        spec: InputSpec,
        score_rule: ScoreRule,
        *,
        device: torch.device,
        epochs: Epochs | None = None,
        watched: Labelled | None = None,
    ) -> None:
        """Create the observer. `choose_parts` selects the parts to draw.

        Args:
            folder: folder of the pictures.
            good: training and validation parts.
            spec: input of the scorer.
            score_rule: determines which map is drawn.
            device: device of the scorer.
            epochs: epochs to draw. None means `USUAL`, and an empty set means no picture at all.
            watched: labelled parts, if some are watched.
        """
        self._folder = folder
        self._good = good
        self._spec = spec
        self._map_name = score_rule.map
        self._pool = Pool(score_rule, spec).to(device)
        self._restore = Restore(spec)
        self._device = device
        self._epochs = USUAL if epochs is None else epochs
        self._watched = watched
        self._parts: tuple[Tensor, list[str]] | None = None

    def after_epoch(self, scorer: nn.Module, epoch: int) -> None:
        """Draw, if this epoch is one of the selected epochs."""
        if epoch in self._epochs:
            self._draw(scorer, f"epoch_{epoch:04}.png", f"epoch {epoch}: reconstructions")

    def after_training(self, scorer: nn.Module, epoch: int | None) -> None:
        """Draw with the final weights. `epoch` is the epoch they were taken from; None if unknown."""
        if self._epochs:
            of = "" if epoch is None else f", of epoch {epoch}"
            self._draw(scorer, "kept.png", f"final weights{of}: reconstructions")

    def _draw(self, scorer: nn.Module, name: str, title: str) -> None:
        if self._parts is None:
            self._parts = choose_parts(self._good, self._watched, windows=isinstance(self._spec, WindowSpec))
        prepared, captions = self._parts
        with preserve_state(scorer):
            evidence = scorer(prepared.to(self._device))
            if RECONSTRUCTION not in evidence.images:
                self._epochs = NONE  # this scorer never gives reconstructions
                return
            outputs = self._pool(evidence)
            good_maps = self._good_maps(scorer) if "anomaly_map" in outputs else None
        rebuilt = self._restore(evidence.images[RECONSTRUCTION].cpu())
        finite = all(bool(torch.isfinite(values).all()) for values in (rebuilt, outputs["score"]))
        if not finite or (good_maps is not None and not math.isfinite(good_maps.quantile)):
            logger.warning("%s: not drawn, because the reconstruction contains values that are not finite", name)
            return
        map_name = self._map_name or next(iter(evidence.maps), "")
        maps = outputs.get("anomaly_map", evidence.maps.get(map_name))
        between = ", " if isinstance(self._spec, WindowSpec) else "\n"
        pages = [
            Rebuilt(
                caption=f"{caption}{between}score {score:.3g}",
                original=original.numpy(),
                rebuilt=again.numpy(),
                map=None if maps is None else maps[place].cpu().numpy(),
            )
            for place, (caption, score, original, again) in enumerate(
                zip(captions, outputs["score"].tolist(), self._restore(prepared), rebuilt, strict=True)
            )
        ]
        if isinstance(self._spec, WindowSpec):
            figure = rebuilt_windows(pages, title=title, spec=self._spec)
        else:
            figure = rebuilt_frames(pages, title=title, map_name=map_name, good_maps=good_maps)
        save(figure, self._folder / name)

    def _good_maps(self, scorer: nn.Module) -> GoodMaps:
        """Return the scale of the deciding map on good parts with these weights. Use validation parts if there are any."""
        part, label = (
            (self._good.validation, "validation") if len(self._good.validation) else (self._good.train, "training")
        )
        count = min(MEASURED, len(part))
        places = _apart(len(part), count)
        values = [
            self._pool(scorer(part.take(places[at : at + _BATCH]).to(self._device)))["anomaly_map"]
            .float()
            .cpu()
            .numpy()
            .ravel()
            for at in range(0, count, _BATCH)
        ]
        quantile = float(np.quantile(np.concatenate(values), QUANTILE))
        return GoodMaps(quantile=quantile, of=f"{count} good {label} part{'s' if count > 1 else ''}")


def choose_parts(good: TrainingData, watched: Labelled | None, *, windows: bool) -> tuple[Tensor, list[str]]:
    """Return a few prepared parts to draw, and their captions.

    One part is from training and one from validation. The comparison shows overfitting. If parts are watched, one good watched
    part and one defect of each kind follow, within the available space. Otherwise more validation parts follow.
    """
    firsts = dict(_firsts(watched)) if watched is not None else {}
    from_watched = [(firsts.pop(GOOD), f"{GOOD} (watched)")] if GOOD in firsts else []
    limit = (
        PARTS - 2 - len(from_watched) if windows else PARTS
    )  # windows need more space: a page shows only PARTS of them
    from_watched += [(part, f"{kind} (watched)") for kind, part in list(firsts.items())[:limit]]
    count = max(2, PARTS - len(from_watched))
    of_train = min(count if not len(good.validation) else 1, len(good.train))
    shown: list[tuple[Tensor, str]] = []
    for part, label, wanted in ((good.train, "training", of_train), (good.validation, "validation", count - of_train)):
        # neighbours in time look alike, so parts far apart show more
        places = _apart(len(part), min(wanted, len(part)))
        shown += [(one, f"{GOOD} ({label})") for one in (part.take(places) if places else ())]
    prepared, captions = zip(*shown, *from_watched, strict=True)
    return torch.stack(prepared), list(captions)


def _apart(length: int, count: int) -> list[int]:
    """Return `count` indices, evenly spaced from 0 to `length` - 1."""
    return [round(place * (length - 1) / max(count - 1, 1)) for place in range(count)]


def _firsts(watched: Labelled) -> Iterator[tuple[str, Tensor]]:
    """Yield each kind and its first part."""
    for kind in dict.fromkeys(watched.kinds):
        yield kind, watched.prepared[watched.kinds.index(kind)]
