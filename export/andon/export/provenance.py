"""The origin of a scorer, as it is passed from the run to the card of the model file."""

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
    """The origin of a scorer, to record in the card. The defaults are for a scorer that andon did not train."""

    name: str = ""
    """Name of the model; empty for the stem of the file name."""
    detector: str = "custom"
    """Name of the recipe."""
    version: int = 1
    """Version of the recipe."""
    settings: Mapping[str, Any] = {}
    """Settings of the recipe."""
    checkpoint_epoch: int | None = None
    """Epoch of the checkpoint; None for the final weights of the training."""
    notes: Sequence[str] = ()
    """Readable notes about the settings, from the detector's recipe."""
    weights: Sequence[Weights] = ()
    """Pretrained weights in the scorer, with the digests that training recorded."""
    data_fingerprint: str = ""
    """Digest of the training data."""
    versions: Mapping[str, str] = msgspec.field(default_factory=package_versions)

    def card(self, spec: InputSpec, rule: ScoreRule, outputs: Sequence[str]) -> Card:
        """Return the card of a file that is not calibrated yet."""
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
