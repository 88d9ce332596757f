"""Train the candidates of a menu on the user's good parts, time and judge them, and write the file to ship.

>>> found = recommend("parts/", "choice/", budget_ms=30, date="2026-11-30")    # doctest: +SKIP
>>> print(found.sentence)                                                      # doctest: +SKIP

The choice depends on synthetic defects only. Labelled defects are shown next to them. The good parts of the final file's
calibration take no part in the choice, so its promise holds as for any other file. Below `FEWEST_SEPARATE` parts this is
impossible, and a note in the result explains it.
"""

import hashlib
import logging
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np
from msgspec import Struct

from andon.calibration.contents import content_of, copied_items
from andon.calibration.request import CalibrationRequest, PromiseRequest
from andon.calibration.split import split
from andon.drawing.style import png_of
from andon.evaluation.figures.intervals import Interval
from andon.evaluation.figures.paired_auroc import PairedAuroc
from andon.foundation.atomic import write_atomically
from andon.foundation.errors import AndonError, ConfigError, DataError
from andon.foundation.progress import Progress, silent, track
from andon.runtime.calls_in_turn import Latency, latencies
from andon.runtime.items import Ref
from andon.runtime.schema import FrameSpec, Mask
from andon.sources.addresses import shown_address
from andon.sources.collection import Collection, FoundFrames
from andon.sources.grouping import Grouped
from andon.sources.opening import labelled_for
from andon.sources.series.log import Log
from andon.sources.source import collect, named
from andon.sources.subset import Subset
from andon.sources.truth import Truth
from andon.training.comparison import plan
from andon.training.comparison.cell import free_memory
from andon.training.fitting.device import Device
from andon.training.fitting.frame_masks import Masks, fitted_to
from andon.training.recommendation.candidate import RUN_FOLDER, UNDRAWN, Judged, Parts, run_candidate
from andon.training.recommendation.choice import GAIN, Candidate, check_budget, check_gain, choose
from andon.training.recommendation.menu import menu_for
from andon.training.recommendation.picture import picture
from andon.training.recommendation.result import Failed, Recommendation, Row, markdown, sentence
from andon.training.runs.export_run import export_run
from andon.training.runs.options import TrainOptions
from andon.training.runs.paths import RUN
from andon.training.runs.train import train

logger = logging.getLogger(__name__)

FEWEST_SEPARATE = 60
"""Fewest good parts from which some are reserved for the calibration alone. 42 of them remain for the choice: 14 judge and 28
train."""
CANDIDATES, FINAL, MODEL = "candidates", "final", "model.onnx"


class Options(Struct, frozen=True, kw_only=True):
    """Options of `recommend`."""

    gain: float = GAIN
    """Gain in AUROC for which a slower candidate is preferred."""
    seed: int = 0
    group: str | None = None
    """As in `TrainOptions`."""
    threads: int | None = None
    device: Device = "auto"
    """Device for training. Files are timed and judged on the CPU."""
    ignore: tuple[str, ...] = ()
    """As in `TrainOptions`."""
    region: tuple[str, ...] = ()
    """As in `TrainOptions`."""
    bench_s: float = 2.0
    """Seconds of timing for each candidate."""
    menu: tuple[str, ...] | None = None
    """Candidates as `parse_detector` reads them. None: `menu_for` the frames."""


class Events(Struct, frozen=True, kw_only=True):
    """Callbacks. `started` gets the name of a step, its number and the number of steps."""

    started: Callable[[str, int, int], None] = lambda _name, _number, _of: None
    failed: Callable[[str, str], None] = lambda _name, _why: None
    progress: Progress = silent


def recommend(
    data: str,
    out: Path | str,
    *,
    budget_ms: float,
    date: str,
    options: Options | None = None,
    events: Events | None = None,
) -> Recommendation:
    """Choose a detector for these good parts. Repeat the same call to continue after an interruption.

    A candidate that fails is listed, and the others continue. Times are measured again in each call, because only times of one
    call are comparable.

    Args:
        data: a folder of good parts, a tree with train/good, or the name of a source of pictures.
        out: the folder to write.
        budget_ms: time for one frame on one thread of this machine, in milliseconds.
        date: ISO date, for the log in model files.
        options: seed, threads and more.
        events: callbacks.

    Raises:
        ConfigError: a budget or gain out of bounds, sensor logs, or a folder with results for other parts.
        DataError, NotEnoughParts: the good parts are not suitable.
    """
    folder, options, events = Path(out), options or Options(), events or Events()
    check_budget(budget_ms)
    check_gain(options.gain)
    good = _good_parts(data, options, events.progress)
    found = good.for_choice.found
    assert isinstance(found, FoundFrames)
    masks = fitted_to(Masks(options.ignore, options.region), found)
    marked = {name: mask.sha256 for name, mask in zip(masks._fields, masks, strict=True) if isinstance(mask, Mask)}
    menu = [plan.parse_detector(text) for text in options.menu or menu_for(found, budget_ms, masks)]
    parts = Parts(
        good=good.for_choice,
        digest=_digest_of({"parts": good.digest, **marked}) if marked else good.digest,
        labelled=(labelled := _labelled(data, menu[0], good.for_choice, options.group)),
        labelled_digest=""
        if labelled is None
        else _digest_of({key: str(bad) for key, bad in labelled[1].defective.items()}),
    )
    training = TrainOptions(
        seed=options.seed,
        group=options.group,
        ignore=masks.ignore,
        region=masks.region,
        device=options.device,
        threads=options.threads,
    )
    judged: dict[str, Judged] = {}
    failed: list[Failed] = []
    for number, choice in enumerate(menu, 1):
        events.started(choice.name, number, len(menu) + 1)
        place = folder / CANDIDATES / plan.folder_name(choice.name)
        try:
            judged[choice.name] = run_candidate(choice, place, parts, training, date=date, progress=events.progress)
        except ConfigError:
            raise  # another --out is needed
        except AndonError as error:
            failed.append(Failed(name=choice.name, why=" ".join(str(error).split())))
            events.failed(choice.name, failed[-1].why)
        free_memory()
    rows, paired, load = _rows(judged, budget_ms, options, events.progress)
    picked = choose(
        [Candidate(name=row.name, latency_ms=row.latency_ms, auroc=row.auroc) for row in rows],
        budget_ms=budget_ms,
        gain=options.gain,
    )
    difference = interval = None
    if picked.chosen is not None and picked.rival is not None and paired is not None:
        difference = paired.auroc(picked.chosen) - paired.auroc(picked.rival)
        interval = paired.difference(picked.chosen, picked.rival)
    model, promise, command = None, "", ""
    if picked.chosen is not None:
        events.started(f"final training of {picked.chosen}", len(menu) + 1, len(menu) + 1)
        choice = next(one for one in menu if one.name == picked.chosen)
        model, promise, command = _final(
            choice, data, folder, good, training=training, date=date, progress=events.progress
        )
    known = next((one.labelled for one in judged.values() if one.labelled), None)
    shown = paired.counts if paired is not None else (0, 0)
    result = Recommendation(
        data=shown_address(data),
        budget_ms=budget_ms,
        gain=options.gain,
        seed=options.seed,
        chosen=picked.chosen,
        rival=picked.rival,
        difference=difference,
        difference_interval=interval,
        decided=interval is not None and not interval.low <= 0 <= interval.high,
        sentence=sentence(
            rows,
            chosen=picked.chosen,
            rival=picked.rival,
            difference=difference,
            interval=interval,
            budget_ms=budget_ms,
        ),
        notes=tuple(_notes(rows, picked.chosen, good, budget_ms, shown=shown, load=load)),
        rows=tuple(rows),
        failed=tuple(failed),
        good_parts=good.count,
        judged_good=shown[0],
        judged_defects=shown[1],
        real_good=known.good if known else 0,
        real_defects=known.defects if known else 0,
        separate=good.separate,
        model=model,
        promise=promise,
        command=command,
        date=date,
    )
    _write(folder, result)
    return result


class _Good(Struct, frozen=True, kw_only=True):
    """The good parts."""

    for_choice: Collection
    """Parts on which candidates are trained and judged."""
    keys: frozenset[str]
    """Their keys."""
    digest: str
    """Digest of names and contents of all good parts, because the final training depends on all of them."""
    count: int
    """Number of all good parts, without copies."""
    separate: bool
    """True if the other parts are only for the calibration of the final file."""


def _good_parts(data: str, options: Options, progress: Progress) -> _Good:
    opened = collect(data)
    if isinstance(opened, Log) or not isinstance(opened.found, FoundFrames):
        raise ConfigError(
            f"{shown_address(data)}: expected pictures, got sensor logs. Synthetic defects exist for pictures only. Compare "
            "detectors on labelled logs: andon compare --detectors whitening pca window_mean --data 'GOOD --test LABELLED' "
            "--out OUT."
        )
    contents = {ref.key: content_of(opened.read(ref)) for ref in track(opened.refs, progress, "reading good parts")}
    # without copies, as in training, so that this split and that of the final training are the same
    copies = copied_items(opened.refs, contents)
    grouped: Collection = opened if options.group is None else Grouped(opened, options.group)
    refs = [ref for ref in grouped.refs if ref.key not in copies]
    count = len({ref.part for ref in refs})
    keys = frozenset(keys_for_choice(refs, seed=options.seed))
    separate = len(keys) < len(refs)
    return _Good(
        for_choice=Subset(opened, [ref for ref in opened.refs if ref.key in keys]),
        keys=keys,
        digest=_digest_of({ref.key: contents[ref.key] for ref in refs}),
        count=count,
        separate=separate,
    )


def keys_for_choice(refs: Sequence[Ref], *, seed: int) -> tuple[str, ...]:
    """Return the keys of the good parts that may take part in the choice.

    From `FEWEST_SEPARATE` parts on, these are the parts that do not calibrate a file that is trained with this seed. With
    fewer parts they are all parts.

    Raises:
        DataError: there are too few parts for a training, or they are in too few groups.
    """
    used = split(refs, seed=seed, validation=False)
    if len({ref.part for ref in refs}) < FEWEST_SEPARATE:
        return tuple(ref.key for ref in refs)
    return used.train


def _labelled(data: str, choice: plan.Choice, good: Collection, group: str | None) -> tuple[Collection, Truth] | None:
    """Return the labelled parts of the data. None if there are none, or only of one kind."""
    source = named(data)
    if source.labelled is None if source is not None else not (Path(data) / "test").is_dir():
        return None
    spec = choice.recipe.wanted_input(choice.settings, good.found)
    assert isinstance(spec, FrameSpec)
    collection, truth = labelled_for(data, spec, group=group)
    if set(truth.defective.values()) != {True, False}:
        logger.warning("%s: test parts are not used, because they are not both good and defective", shown_address(data))
        return None
    return collection, truth


class _Pictures(Struct, frozen=True):
    """AUROC of all candidates on the same pictures, with the numbers of good and damaged ones."""

    values: PairedAuroc
    counts: tuple[int, int]

    def auroc(self, name: str) -> float:
        return self.values.auroc(name)

    def difference(self, name: str, other: str) -> Interval:
        return self.values.difference(name, other)


def _paired(judged: Mapping[str, Judged]) -> _Pictures | None:
    """Compare the candidates on the pictures that at least one of them could judge; None if one kind of picture is missing.

    A picture that is INVALID for one candidate only did not pass there. It counts as its highest score: an alarm.
    """
    if not judged:
        return None
    first = next(iter(judged.values())).synthetic
    if any((one.synthetic.keys, one.synthetic.defective) != (first.keys, first.defective) for one in judged.values()):
        raise DataError(
            "candidates: expected the same pictures for all of them. Delete the folder candidates in --out."
        )
    scores = {
        name: np.array([math.inf if value is None else value for value in one.synthetic.scores])
        for name, one in judged.items()
    }
    seen = np.isfinite(np.stack(list(scores.values()))).any(axis=0)
    truth = np.array(first.defective)[seen]
    if truth.all() or not truth.any():
        return None
    parts = [part for part, kept in zip(first.parts, seen, strict=True) if kept]
    values = PairedAuroc({name: value[seen] for name, value in scores.items()}, truth, parts)
    return _Pictures(values, (int((~truth).sum()), int(truth.sum())))


def _rows(
    judged: Mapping[str, Judged], budget_ms: float, options: Options, progress: Progress
) -> tuple[list[Row], _Pictures | None, float | None]:
    paired = _paired(judged)
    timed = latencies([one.model for one in judged.values()], seconds=options.bench_s * len(judged), progress=progress)
    rows = [_row(name, one, time, paired, budget_ms) for (name, one), time in zip(judged.items(), timed, strict=True)]
    return sorted(rows, key=lambda row: row.latency_ms), paired, load_per_cpu()


def _row(name: str, one: Judged, time: Latency, paired: _Pictures | None, budget_ms: float) -> Row:
    return Row(
        name=name,
        latency_ms=time.latency_ms,
        low_ms=time.low_ms,
        high_ms=time.high_ms,
        latency_p99_ms=time.latency_p99_ms,
        cpu_ms=time.cpu_ms,
        keeps_budget=time.latency_ms <= budget_ms,
        file_mb=time.file_mb,
        train_s=one.train_s,
        auroc=None if paired is None else paired.auroc(name),
        auroc_interval=None if paired is None else paired.values.interval(name),
        invalid=sum(score is None for score in one.synthetic.scores),
        real_auroc=one.labelled.auroc if one.labelled else None,
        real_interval=one.labelled.interval if one.labelled else None,
    )


def _final(
    choice: plan.Choice,
    data: str,
    folder: Path,
    good: _Good,
    *,
    training: TrainOptions,
    date: str,
    progress: Progress,
) -> tuple[str, str, str]:
    """Train the chosen candidate on all good parts, and export it with a promise. Return path, promise and export command."""
    place = folder / FINAL / plan.folder_name(choice.name) / RUN_FOLDER
    run = train(
        choice.recipe,
        data,
        place,
        settings=choice.settings,
        options=training,
        observe=UNDRAWN,
        resume=(place / RUN).exists(),
        progress=progress,
    )
    both = good.keys.intersection(run.record.split.calibration)
    if good.separate and both:
        raise DataError(
            f"{shown_address(data)}: expected calibration parts that took no part in the choice, got {len(both)} that did, such "
            f"as {min(both)}. The good parts have changed. Give another --out."
        )
    path = folder / MODEL
    exported = export_run(
        run,
        path,
        request=CalibrationRequest(promise=PromiseRequest(), date=date),
        data=data,
        name=choice.name,
        progress=progress,
    )
    calibration = exported.model.card.calibration
    return str(path), calibration.sentence if calibration else "", f"andon export {place} -o {path}"


def load_per_cpu() -> float | None:
    """Return the number of running processes for each CPU, as a mean over a minute; None if the system does not report it."""
    try:
        return os.getloadavg()[0] / (os.cpu_count() or 1)
    except (AttributeError, OSError):
        return None


def _notes(
    rows: Sequence[Row],
    chosen: str | None,
    good: _Good,
    budget_ms: float,
    *,
    shown: tuple[int, int],
    load: float | None,
) -> list[str]:
    source = (
        f"Synthetic AUROC: {shown[0]} good parts and {shown[1]} damaged copies of them. Training did not see these parts. It "
        "ranks candidates, and does not predict results on real defects."
    )
    notes = [
        source,
        "Times: calls of all candidates in turn, on one thread of this machine.",
    ]
    near = [row for row in rows if row.low_ms <= budget_ms < row.high_ms]
    if near:
        notes.append(
            f"The limits of the time include the budget for {', '.join(row.name for row in near)}. Give more --bench-seconds, "
            "or measure on a quiet machine."
        )
    if any(row.real_auroc is not None for row in rows):
        notes.append("Labelled parts did not influence the choice.")
    if chosen is not None and not good.separate:
        notes.append(
            f"With {good.count} good parts (fewer than {FEWEST_SEPARATE}), the parts that calibrate the file also judged the "
            "candidates. Its promise does not take this choice into account. Collect more good parts and run again."
        )
    if shown[0] and shown[0] < 40:
        notes.append(f"{shown[0]} parts are few: differences of less than .05 cannot be recognised reliably.")
    if load is not None and load > 1:
        cpu = ", ".join(f"{row.name} {row.cpu_ms:.1f}" for row in rows)
        notes.append(
            f"The machine was busy: its load was {load:.1f} for each CPU. Times are upper limits. Run the same command again on "
            f"a quiet machine. CPU milliseconds for one frame: {cpu}."
        )
    return notes


def _write(folder: Path, found: Recommendation) -> None:
    write_atomically(folder / "recommendation.json", msgspec.json.format(msgspec.json.encode(found), indent=1) + b"\n")
    write_atomically(folder / "recommendation.md", markdown(found).encode())
    figure = picture(found)
    if figure is not None:
        write_atomically(folder / "recommendation.png", png_of(figure))


def _digest_of(texts: Mapping[str, str]) -> str:
    return hashlib.sha256("\n".join(f"{key}\t{texts[key]}" for key in sorted(texts)).encode()).hexdigest()
