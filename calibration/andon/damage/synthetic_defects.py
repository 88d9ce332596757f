"""Measure a model without labelled defects, on good parts and on copies of them with held-out kinds of damage.

Each good part that the model was not trained on is used once unchanged and twice with damage of kinds that are never used for
training. The results show which settings detect more. They do not predict results on the line, because synthetic defects are
not real ones (docs/results.md gives the correlation).
"""

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from andon.damage.kinds import HELD_OUT, damaged
from andon.foundation.errors import DataError
from andon.runtime.grey_levels import changed_raw, grey_levels
from andon.runtime.items import Data, Item, Lost, Ref
from andon.runtime.mask_pixels import judged_pixels
from andon.runtime.schema import InputSpec, Reason
from andon.sources.collection import Collection, FoundFrames
from andon.sources.truth import Truth

EACH = 2
"""Number of damaged copies of each good part."""
MOST = 250
"""Upper limit of good parts, picked at even distances. With 750 pictures, AUROC is accurate to one or two hundredths."""


class _RawDamaged(NamedTuple):
    """A raw frame with damage, and the mask of the damage."""

    picture: Data
    mask: NDArray[np.bool_]


class SyntheticDefects:
    """A collection of good parts and damaged copies. The same seed and key always give the same picture."""

    def __init__(self, good: Collection, spec: InputSpec | None = None, *, seed: int = 0, most: int = MOST) -> None:
        """Create the collection from good frames that were not used for training.

        Args:
            good: the good frames.
            spec: the input of the model file. Damage is drawn in grey levels, and `spec` has the scale of uint16 frames.
                Damage is drawn only where the masks of `spec` let pixels count. None: the whole range of levels, no masks.
            seed: seed of the damage.
            most: upper limit of good parts.

        Raises:
            DataError: the data are logs, or there are no parts.
        """
        if not isinstance(good.found, FoundFrames):
            raise DataError(
                "synthetic defects: expected frames, got sensor logs. Damage can only be drawn onto frames."
            )
        if not len(good.refs):
            raise DataError("synthetic defects: expected good parts to draw damage onto, got none.")
        self.found = good.found
        self._good = good
        self._spec = spec
        self._seed = seed
        step = max(1.0, len(good.refs) / most)
        self._used = [good.refs[int(place * step)] for place in range(min(len(good.refs), most))]
        self._origin: dict[str, tuple[int, str]] = {}
        self.refs: Sequence[Ref] = [ref for place in range(len(self._used)) for ref in self._copies(place)]
        self._last: tuple[str, _RawDamaged | None] = ("", None)

    @property
    def truth(self) -> Truth:
        """The truth: damaged parts, their kinds of damage and their masks."""
        return Truth(
            defective={ref.key: bool(self._origin[ref.key][1]) for ref in self.refs},
            kind={key: kind for key, (_, kind) in self._origin.items() if kind},
            masks={key: partial(self._mask, key) for key, (_, kind) in self._origin.items() if kind},
        )

    def read(self, ref: Ref) -> Item | Lost:
        """Return a good part unchanged or with damage, or `Lost` if no visible damage could be drawn."""
        place, kind = self._origin[ref.key]
        if not kind:
            return self._good.read(self._used[place])
        result = self._damaged(ref.key)
        if isinstance(result, Lost):
            return Lost(ref, result.reason, result.detail)
        return Item(ref, result.picture)

    def _copies(self, place: int) -> list[Ref]:
        own = self._used[place]
        self._origin[own.key] = (place, "")
        copies = []
        # draw the kinds at random: in a fixed order, each kind could always get the pictures of the same camera
        for kind in np.random.default_rng([self._seed, place]).choice(HELD_OUT, EACH, replace=False).tolist():
            copies.append(Ref(key=f"{own.key}+{kind}", part=own.part, group=own.group))
            self._origin[copies[-1].key] = (place, kind)
        return [own, *copies]

    def _damaged(self, key: str) -> _RawDamaged | Lost:
        if self._last[0] == key and self._last[1] is not None:
            return self._last[1]  # evaluation asks for the picture, then for its mask
        place, kind = self._origin[key]
        generator = np.random.default_rng([self._seed, place, HELD_OUT.index(kind)])
        ref = self._used[place]
        item = self._good.read(ref)
        if not isinstance(item, Item):
            return item
        other = self._good.read(self._used[int(generator.integers(len(self._used)))])
        before = grey_levels(item.data, self._spec)
        alike = isinstance(other, Item) and other.data.shape == before.shape
        pasted = grey_levels(other.data, self._spec) if isinstance(other, Item) and alike else before
        judged = judged_pixels(self._spec)
        if judged is not None and judged.shape != before.shape[:2]:
            return Lost(ref, Reason.WRONG_INPUT, "the frame does not have the size of the masks")
        drawn = damaged(generator, kind, before, pasted, judged)
        if drawn is None:
            return Lost(ref, Reason.OTHER, f"no visible {kind} could be drawn: the picture is nearly flat")
        result = _RawDamaged(changed_raw(item.data, before, drawn.picture, self._spec), drawn.mask)
        self._last = (key, result)
        return result

    def _mask(self, key: str) -> NDArray[np.bool_]:
        result = self._damaged(key)
        if isinstance(result, Lost):
            raise DataError(f"{key}: there is no mask: {result.detail}")
        return result.mask
