"""How a training runs, apart from the detector's own settings: what `train` and `andon train` take."""

from msgspec import Struct

from andon.training.fitting.device import Device


class TrainOptions(Struct, frozen=True, kw_only=True):
    """How a training runs. A resumed run uses its own, whatever is given here, and refuses another calibration share."""

    seed: int = 0
    """Of split, weights, order and noise."""
    group: str | None = None
    """Which items belong together: a regular expression or a CSV file, as `prepare_data` takes it; None: as the source says."""
    calibration_share: float | None = None
    """Share of the good parts to keep back for calibration, above 0 and at most 0.8; None: 0.3. A tenth is for validation,
    where the detector uses that, and the rest is for training."""
    device: Device = "auto"
    """To train on; ``auto`` takes CUDA where there is one. ``mps`` is untested (`device`)."""
    threads: int | None = None
    """Of PyTorch on the CPU; None: one for windows, whose nets are so small that a second thread only costs time, and as
    PyTorch is set for frames. Another number gives other, equally good weights."""
