"""What the network rebuilds of a few parts, at chosen epochs: always the same parts, so that one can leaf through."""

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
"""Name of the image of evidence that is drawn; scorers that give none have no pictures."""
PARTS = 4
MEASURED = 32
"""Good parts whose maps are the measure of the colours."""
QUANTILE = 0.999
"""Of their values, as of a file's `map_scale`."""
USUAL = DECADES
_BATCH = 8


class ReconstructionPictures:
    """Pictures of a run, ``epoch_0010.png`` and, in the end, ``kept.png``."""

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
        """`epochs`: which; None: `USUAL`; empty: no picture at all. `chosen` says which parts."""
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
        """Draw, if this epoch is one of the chosen."""
        if epoch in self._epochs:
            self._draw(scorer, f"epoch_{epoch:04}.png", f"epoch {epoch}: what is rebuilt")

    def after_training(self, scorer: nn.Module, epoch: int | None) -> None:
        """Draw the weights that stay, those of `epoch` if that is known."""
        if self._epochs:
            of = "" if epoch is None else f", of epoch {epoch}"
            self._draw(scorer, "kept.png", f"kept weights{of}: what is rebuilt")

    def _draw(self, scorer: nn.Module, name: str, title: str) -> None:
        if self._parts is None:
            self._parts = chosen(self._good, self._watched, windows=isinstance(self._spec, WindowSpec))
        prepared, captions = self._parts
        with preserve_state(scorer):
            evidence = scorer(prepared.to(self._device))
            if RECONSTRUCTION not in evidence.images:
                self._epochs = NONE  # it will not begin to rebuild
                return
            outputs = self._pool(evidence)
            good_maps = self._good_maps(scorer) if "anomaly_map" in outputs else None
        rebuilt = self._restore(evidence.images[RECONSTRUCTION].cpu())
        finite = all(bool(torch.isfinite(values).all()) for values in (rebuilt, outputs["score"]))
        if not finite or (good_maps is not None and not math.isfinite(good_maps.quantile)):
            logger.warning("%s is not drawn: what was rebuilt is not finite", name)
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
        """What the deciding map shows of good parts with these weights: of validation parts, if there are any."""
        part, called = (
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
        return GoodMaps(quantile=quantile, of=f"{count} good {called} part{'s' if count > 1 else ''}")


def chosen(good: TrainingData, watched: Labelled | None, *, windows: bool) -> tuple[Tensor, list[str]]:
    """A few parts and what they are: one that is learnt from and one that is not, to see what is only learnt by heart; where
    parts are watched also a good one of them and one defect of each kind, as many as fit; else more validation parts.
    """
    firsts = dict(_firsts(watched)) if watched is not None else {}
    beside = [(firsts.pop(GOOD), f"{GOOD} (watched)")] if GOOD in firsts else []
    room = PARTS - 2 - len(beside) if windows else PARTS  # windows take more room, and their pages hold no more
    beside += [(part, f"{kind} (watched)") for kind, part in list(firsts.items())[:room]]
    count = max(2, PARTS - len(beside))
    of_train = min(count if not len(good.validation) else 1, len(good.train))
    shown: list[tuple[Tensor, str]] = []
    for part, called, wanted in ((good.train, "training", of_train), (good.validation, "validation", count - of_train)):
        # neighbours in time resemble each other: those far apart show more
        places = _apart(len(part), min(wanted, len(part)))
        shown += [(one, f"{GOOD} ({called})") for one in (part.take(places) if places else ())]
    prepared, captions = zip(*shown, *beside, strict=True)
    return torch.stack(prepared), list(captions)


def _apart(length: int, count: int) -> list[int]:
    """`count` of `length` places, evenly over all."""
    return [round(place * (length - 1) / max(count - 1, 1)) for place in range(count)]


def _firsts(watched: Labelled) -> Iterator[tuple[str, Tensor]]:
    """The first part of each kind, by kind."""
    for kind in dict.fromkeys(watched.kinds):
        yield kind, watched.prepared[watched.kinds.index(kind)]
