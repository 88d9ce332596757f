"""Options of a training that are not settings of its detector."""

from msgspec import Struct

from andon.training.fitting.device import Device


class TrainOptions(Struct, frozen=True, kw_only=True):
    """Options of `train`. A resumed run uses its own instead of these; it refuses another calibration share."""

    seed: int = 0
    """Of split, weights, order and noise."""
    group: str | None = None
    """Names the items that belong together, by a regular expression or a CSV file (`Grouped`). None: as the source groups
    them."""
    calibration_share: float | None = None
    """Share of the good parts to keep back for calibration, above 0 and at most 0.8; None: 0.3. A tenth is for validation,
    where the detector uses that, and the rest is for training."""
    device: Device = "auto"
    """To train on; ``auto`` takes CUDA where there is one. ``mps`` is untested (`device`)."""
    threads: int | None = None
    """Of PyTorch on the CPU; None: one for windows, whose nets are so small that a second thread only costs time, and as
    PyTorch is set for frames. Another number gives other, equally good weights."""
