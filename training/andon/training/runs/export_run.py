"""Export a run folder as one model file. The command ``andon export`` calls this module."""

from andon.training.fitting import thread_waiting  # noqa: F401 - before torch is imported

# isort: split

import contextlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import structs

from andon.calibration.contents import content_of
from andon.calibration.known_defects import MISSED
from andon.calibration.promise import LADDER, refusal_of_kept_back
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.export.export import Exported, Float16, Int8, export
from andon.export.graph import Pipeline
from andon.export.precision_gate import BenchFiles
from andon.export.provenance import Provenance
from andon.foundation.errors import ConfigError, DataError, NotEnoughParts
from andon.foundation.progress import Progress, silent
from andon.foundation.settings import from_mapping
from andon.runtime.bench_pair import bench_pair
from andon.runtime.calibration_facts import Precision, percent
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import ScoreRule, Weights, WindowSpec
from andon.sources.collection import Collection, Found
from andon.sources.grouping import Grouped
from andon.sources.subset import Subset
from andon.training.runs.run_data import Data, parts_of
from andon.training.runs.run_folder import LoadedRun, load
from andon.training.runs.window_choice import shown_time

logger = logging.getLogger(__name__)


def export_run(
    run: LoadedRun | Path | str,
    path: Path | str,
    *,
    request: CalibrationRequest,
    rule: ScoreRule | None = None,
    data: Data | None = None,
    name: str = "",
    golden_real: bool = False,
    scene: bool | None = None,
    progress: Progress = silent,
    defects: Collection | None = None,
    missed: float = MISSED,
    precision: Precision = "float32",
    bench: BenchFiles | None = None,
) -> Exported:
    """Export a finished run. Calibrate it on the good parts that training held back.

    Args:
        run: a run or checkpoint returned by `load`, or the folder of a finished run.
        path: path of the model file to write.
        request: the promise and the date. The run determines whether files were grouped.
        rule: score rule to use instead of the run's own. Nothing is trained again.
        data: new location of the good parts; None for the location recorded in the run.
        name: name of the model; empty for the stem of `path`.
        golden_real: keep a real part as the golden sample.
        scene: give the file a scene check, fitted to the training parts. None: if the detector has one by default.
        progress: reports scoring.
        defects: known defects that set the lower limit of the review band, as in `export`.
        missed: largest share of such defects that may pass.
        precision: int8 quantises the pretrained network on training parts. float16 is for CUDA. See `export`.
        bench: measures the speed of the converted file and of the float32 file. None: alternating calls on this machine.

    Raises:
        TrainingError: `run` is not a finished run.
        DataError: the calibration parts are missing, or files of these names have different content.
        NotEnoughParts, CalibrationError, ParityError, PrecisionError, DeviceError, ConfigError: as `export`.
    """
    loaded = run if isinstance(run, LoadedRun) else load(run)
    kept_back = calibration_part(loaded, data)
    check_scene = loaded.recipe.scene_check if scene is None else scene
    with _advised(loaded, kept_back, request.promise):
        return export(
            Pipeline(
                loaded.scorer,
                loaded.spec,
                rule or loaded.recipe.score_rule(loaded.settings, loaded.spec),
                scene=check_scene,
            ),
            kept_back,
            path,
            request=structs.replace(request, grouped=loaded.record.group is not None),
            provenance=provenance_of(loaded, name=name),
            scene_parts=training_part(loaded, data) if check_scene else None,
            golden_real=golden_real,
            progress=progress,
            defects=defects
            if defects is None or loaded.record.group is None
            else Grouped(defects, loaded.record.group),
            missed=missed,
            reduced=_reduced(loaded, data, precision, bench),
        )


def _reduced(
    loaded: LoadedRun, data: Data | None, precision: Precision, bench: BenchFiles | None
) -> Int8 | Float16 | None:
    """Return the request for a lower precision; None for float32."""
    if precision == "int8":
        return Int8(parts=training_part(loaded, data), bench=bench or bench_pair)
    if precision == "float16":
        return Float16() if bench is None else Float16(bench=bench)
    return None


def provenance_of(run: LoadedRun, *, name: str = "") -> Provenance:
    """Return the origin of a run's weights. Log a warning if the pretrained weights have changed since training."""
    recipe, record = run.recipe, run.record
    return Provenance(
        name=name,
        detector=recipe.name,
        version=recipe.version,
        settings=record.settings,
        checkpoint_epoch=run.epoch,
        notes=recipe.notes(run.settings),
        weights=_pretrained(run),
        data_fingerprint=record.fingerprint,
    )


@contextlib.contextmanager
def _advised(run: LoadedRun, kept_back: Collection, request: PromiseRequest) -> Iterator[None]:
    """Rephrase `NotEnoughParts` in terms of all photos or rows to collect. Only a share of them is used for calibration."""
    record = run.record
    try:
        yield
    except NotEnoughParts as error:
        if isinstance(run.spec, WindowSpec):
            raise NotEnoughParts(
                _in_rows(error, run.spec, record.calibration_share, len(kept_back.refs)),
                windows_missing=error.windows_missing,
                tau=error.tau,
            ) from error
        groups = len({ref.group for ref in kept_back.refs})
        if error.need is None or error.have is None or groups < len(kept_back.refs):
            raise  # dependent windows, or groups of several frames: the number of photos per group is unknown
        used = record.split
        raise NotEnoughParts(
            refusal_of_kept_back(
                error.need,
                error.have,
                total=len(used.train) + len(used.validation) + len(used.calibration),
                share=record.calibration_share,
                alpha=max(LADDER) if request.false_reject is None else request.false_reject,
                confidence=request.confidence,
                asked=error.asked,
                offer=error.offer,
            ),
            need=error.need,
            have=error.have,
            asked=error.asked,
            offer=error.offer,
        ) from error


def _in_rows(error: NotEnoughParts, spec: WindowSpec, share: float, windows: int) -> str:
    """Rephrase missing windows as rows of the log, and name a length of windows that could be enough."""
    kept = f"A window has {spec.steps} rows. The run kept back {percent(share)} of the windows"
    if error.windows_missing is None:
        return f"{error} {kept}."
    rows = math.ceil(error.windows_missing * spec.steps / share)
    text = f"{error} {kept}, so that is about {rows} more good rows in the log ({shown_time(rows * spec.period_s)})."
    shorter = windows * spec.steps // (windows + error.windows_missing)
    if error.tau <= 1.5 and shorter >= 1:
        text += (
            f" Or train with windows of at most {shorter} rows (--steps {shorter}), which is enough if they depend on each other "
            "as little as these."
        )
    return f"{text} Or write an estimate with --no-promise."


def rule_of(run: LoadedRun, changes: Mapping[str, object]) -> ScoreRule:
    """Return a run's own score rule with some fields replaced.

    `export_run` takes the result and checks that the evidence exists.

    Args:
        run: its settings define the original score rule.
        changes: new values by field name of `ScoreRule`. A `map` replaces a `score`, and a `score` replaces a `map`.

    Raises:
        ConfigError: a field is unknown, a value is out of bounds, or a change would have no effect.
    """
    if "map" in changes and "score" in changes:
        raise ConfigError("--map and --score: expected one of them, got both. Only one of a map or a score can decide.")
    own = structs.asdict(run.recipe.score_rule(run.settings, run.spec))
    instead = {"map": {"score": None}, "score": {"map": None}}
    named = next((instead[name] for name in instead if name in changes), {})
    rule = from_mapping(ScoreRule, {**own, **named, **changes}, where="reading")
    pooled = [f"--{name}" for name in ("pool", "share") if name in changes]
    if rule.score is not None and pooled:
        raise ConfigError(
            f"{' and '.join(pooled)}: expected a map to pool, got the score {rule.score!r}. Choose a map with --map."
        )
    if "share" in changes and rule.pool != "top":
        raise ConfigError(
            f"--share: expected --pool top, got --pool {rule.pool}. Give --pool top, or leave out --share."
        )
    if rule.smooth > 0 and "smooth" in changes and isinstance(run.spec, WindowSpec):
        raise ConfigError("--smooth: expected a run on frames, got a run on windows. Leave out --smooth.")
    return rule


def calibration_part(run: LoadedRun, data: Data | None = None) -> Collection:
    """Return the good parts that training held back for calibration.

    Reading a part raises `DataError` if its content differs from the content that training held back.

    Raises:
        DataError: the run was trained on data in memory and `data` is None, or some of the parts are missing.
    """
    record = run.record
    collection = parts_of(run, data)
    by_key = {ref.key: ref for ref in collection.refs}
    missing = [key for key in record.split.calibration if key not in by_key]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(record.split.calibration)} calibration parts are missing, the first is {missing[0]}. "
            "Give their new location with --data, or train again."
        )
    if not record.contents:
        logger.warning(
            "%s: written by an older version of andon that recorded no digests. Cannot check that weights and calibration "
            "parts are those of the training",
            run.path,
        )
    return _KeptBack(collection, [by_key[key] for key in record.split.calibration], record.contents)


def training_part(run: LoadedRun, data: Data | None = None) -> Collection:
    """Return the good parts that the run was trained on, as far as they still exist.

    They fit the scene check and the ranges of int8.

    Raises:
        DataError: the data cannot be opened.
    """
    collection = parts_of(run, data)
    used = {*run.record.split.train, *run.record.split.validation}
    return Subset(collection, [ref for ref in collection.refs if ref.key in used])


class _KeptBack:
    """The calibration parts of a run. Each is compared with the digest recorded in training when it is read."""

    def __init__(self, collection: Collection, refs: Sequence[Ref], contents: Mapping[str, str]) -> None:
        self._collection = collection
        self._contents = contents
        self.refs = refs

    @property
    def found(self) -> Found:
        """Description of the whole collection."""
        return self._collection.found

    def read(self, ref: Ref) -> Item | Lost:
        """Return one item.

        Raises:
            DataError: its content differs from the content that training held back under this name.
        """
        item = self._collection.read(ref)
        if self._contents and content_of(item) != self._contents.get(ref.key):
            raise DataError(
                f"{ref.key}: expected the calibration part that training held back under this name, got different content. "
                "The model may have been trained on it. Give the data of the training with --data, or train again."
            )
        return item


def _pretrained(run: LoadedRun) -> Sequence[Weights]:
    """Return the pretrained weights as training recorded them. Warn if the file on this machine has changed since."""
    now = run.recipe.weights(run.settings)
    recorded = run.record.pretrained
    if recorded is None:
        return now
    for trained, here in zip(recorded, now, strict=False):
        if here.sha256 and here.sha256 != trained.sha256:
            logger.warning(
                "%s: the file on this machine has changed since training (sha256 was %s, is now %s). The exported model "
                "contains and names the weights of the training",
                trained.name, trained.sha256[:12], here.sha256[:12],
            )  # fmt: skip
    return recorded
