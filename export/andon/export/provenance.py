"""Where a scorer comes from: one value that travels from the run to the card."""

from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import msgspec
from msgspec import Struct

from andon.runtime.schema import Card, InputSpec, ScoreRule, Weights


def package_versions() -> dict[str, str]:
    """Return the versions of the packages that make a model file, on this machine."""
    return {package: version(package) for package in ("andon", "numpy", "onnx", "onnxruntime", "onnxscript", "torch")}


class Provenance(Struct, frozen=True, kw_only=True):
    """What made the scorer, for the record in the card. The defaults fit a scorer that andon did not train."""

    name: str = ""
    """Of the model; empty: the stem of the file's name."""
    detector: str = "custom"
    """Name of the recipe."""
    version: int = 1
    """Of the recipe."""
    settings: Mapping[str, Any] = {}
    """Of the recipe."""
    checkpoint_epoch: int | None = None
    """Epoch whose weights these are; None: those that training kept."""
    notes: Sequence[str] = ()
    """What the recipe says about the settings, for people."""
    weights: Sequence[Weights] = ()
    """Pretrained weights within, with the digests that training recorded."""
    data_fingerprint: str = ""
    """Digest over the training data."""
    versions: Mapping[str, str] = msgspec.field(default_factory=package_versions)

    def card(self, spec: InputSpec, rule: ScoreRule, outputs: Sequence[str]) -> Card:
        """Return the card of a file that was not calibrated yet."""
        return Card(
            name=self.name,
            detector=self.detector,
            detector_version=self.version,
            settings=dict(self.settings),
            checkpoint_epoch=self.checkpoint_epoch,
            notes=tuple(self.notes),
            input=spec,
            reading=rule,
            outputs=tuple(outputs),
            data_fingerprint=self.data_fingerprint,
            weights=tuple(self.weights),
            versions=dict(self.versions),
        )
