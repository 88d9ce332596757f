"""From a run folder to one model file: what ``andon export`` does."""

from andon.training.fitting import thread_waiting  # noqa: F401 - before torch is imported

# isort: split

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from msgspec import structs

from andon.calibration.contents import content_of
from andon.calibration.promise import LADDER, refusal_of_kept_back
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.export.export import Exported, export
from andon.export.graph import Pipeline
from andon.export.provenance import Provenance
from andon.foundation.errors import ConfigError, DataError, NotEnoughParts
from andon.foundation.progress import Progress, silent
from andon.foundation.settings import from_mapping
from andon.runtime.items import Item, Lost, Ref
from andon.runtime.schema import ScoreRule, Weights, WindowSpec
from andon.sources.collection import Collection, Found
from andon.training.fitting.prepared_data import items_of
from andon.training.runs.record import RunRecord
from andon.training.runs.run_data import Data, open_again
from andon.training.runs.run_folder import LoadedRun, load

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
    progress: Progress = silent,
) -> Exported:
    """Export a finished run, calibrated on the good parts that it kept back.

    Args:
        run: a run or one of its checkpoints, as `load` gives them, or the folder of a finished one.
        path: where the file goes.
        request: the promise and the date. Whether files were grouped is taken from the run.
        rule: another way from evidence to the score than the run's settings say. Nothing is trained again.
        data: where the good parts are now; None: where the run found them.
        name: of the model; empty: the file's stem.
        golden_real: keep a real part as the golden sample.
        progress: reports scoring.

    Raises:
        TrainingError: no finished run there.
        DataError: the parts that were kept back are not where they were, or other contents have their names.
        NotEnoughParts, CalibrationError, ParityError, ConfigError: as `export`.
    """
    loaded = run if isinstance(run, LoadedRun) else load(run)
    kept_back = calibration_part(loaded, data)
    with _advised(loaded.record, kept_back, request.promise):
        return export(
            Pipeline(loaded.scorer, loaded.spec, rule or loaded.recipe.score_rule(loaded.settings)),
            kept_back,
            path,
            request=structs.replace(request, grouped=loaded.record.group is not None),
            provenance=provenance_of(loaded, name=name),
            golden_real=golden_real,
            progress=progress,
        )


def provenance_of(run: LoadedRun, *, name: str = "") -> Provenance:
    """Return where the weights of a run come from. A warning is logged where its pretrained weights have changed since."""
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
def _advised(record: RunRecord, kept_back: Collection, request: PromiseRequest) -> Iterator[None]:
    """Rephrase a refusal for want of parts: only a share of what the user collects is calibrated on."""
    try:
        yield
    except NotEnoughParts as error:
        groups = len({ref.group for ref in kept_back.refs})
        if error.need is None or error.have is None or groups < len(kept_back.refs):
            raise  # dependent windows, or lots and parts of several frames: how many photos make one is not known
        used = record.split
        raise NotEnoughParts(
            refusal_of_kept_back(
                error.need,
                error.have,
                total=len(used.train) + len(used.validation) + len(used.calibration),
                share=record.calibration_share,
                alpha=max(LADDER) if request.false_reject is None else request.false_reject,
                confidence=request.confidence,
            ),
            need=error.need,
            have=error.have,
        ) from error


def rule_of(run: LoadedRun, changes: Mapping[str, object]) -> ScoreRule:
    """Return a run's own score rule with some fields replaced, for `export_run`, which checks that the evidence exists.

    Args:
        run: its settings say how evidence becomes the score.
        changes: `ScoreRule`'s fields by name. A `map` replaces a `score`, and the other way round.

    Raises:
        ConfigError: an unknown field, a value out of bounds, or one that would change nothing.
    """
    if "map" in changes and "score" in changes:
        raise ConfigError("either a map or a score decides: give one of --map and --score.")
    own = structs.asdict(run.recipe.score_rule(run.settings))
    instead = {"map": {"score": None}, "score": {"map": None}}
    named = next((instead[name] for name in instead if name in changes), {})
    rule = from_mapping(ScoreRule, {**own, **named, **changes}, where="reading")
    pooled = [f"--{name}" for name in ("pool", "share") if name in changes]
    if rule.score is not None and pooled:
        raise ConfigError(
            f"{' and '.join(pooled)}: the score {rule.score!r} decides as it is, only a map is pooled. Name one with --map."
        )
    if "share" in changes and rule.pool != "top":
        raise ConfigError(f"--share is of --pool top, and this reading pools by {rule.pool}.")
    if rule.smooth > 0 and "smooth" in changes and isinstance(run.spec, WindowSpec):
        raise ConfigError("--smooth is of maps of frames, and this run judges windows.")
    return rule


def calibration_part(run: LoadedRun, data: Data | None = None) -> Collection:
    """Return the good parts that a run kept back. Reading one whose content is not the one that training saw raises.

    Raises:
        DataError: the data came from memory and are not given, or some of the parts are no longer there.
    """
    record = run.record
    if data is None and not record.data:
        raise DataError("this run learnt from data in memory: give them again as data=.")
    try:
        opened = open_again(record.data if data is None else data, record)
    except DataError as error:
        if data is not None:
            raise
        raise DataError(
            f"{error} The run was trained on it: if it was moved, give its present place with --data."
        ) from error
    collection = items_of(opened, run.spec, record.group)
    by_key = {ref.key: ref for ref in collection.refs}
    missing = [key for key in record.split.calibration if key not in by_key]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(record.split.calibration)} calibration parts are not there any more, the first is "
            f"{missing[0]}. Give their present place with --data, or train anew."
        )
    if not record.contents:
        logger.warning(
            "%s: written by an older andon that kept no digests: whether its weights and calibration parts are those of the "
            "training cannot be checked",
            run.path,
        )
    return _KeptBack(collection, [by_key[key] for key in record.split.calibration], record.contents)


class _KeptBack:
    """The calibration part of a run, compared part by part with what training kept back."""

    def __init__(self, collection: Collection, refs: Sequence[Ref], contents: Mapping[str, str]) -> None:
        self._collection = collection
        self._contents = contents
        self.refs = refs

    @property
    def found(self) -> Found:
        """What the whole collection is."""
        return self._collection.found

    def read(self, ref: Ref) -> Item | Lost:
        """Return one item.

        Raises:
            DataError: its content is not the one that training kept back under this name.
        """
        item = self._collection.read(ref)
        if self._contents and content_of(item) != self._contents.get(ref.key):
            raise DataError(
                f"{ref.key}: expected the calibration part that training kept back under this name, got another content. The "
                "model may have been trained on it. Give the data of the training with --data, or train again."
            )
        return item


def _pretrained(run: LoadedRun) -> Sequence[Weights]:
    """Return the pretrained weights as training recorded them, and warn where the file on this machine is another one now."""
    now = run.recipe.weights(run.settings)
    recorded = run.record.pretrained
    if recorded is None:
        return now
    for trained, here in zip(recorded, now, strict=False):
        if here.sha256 and here.sha256 != trained.sha256:
            logger.warning(
                "%s: the file on this machine has changed since training (sha256 %s, now %s); the run holds the weights it "
                "was trained with, and the model file names those",
                trained.name, trained.sha256[:12], here.sha256[:12],
            )  # fmt: skip
    return recorded
