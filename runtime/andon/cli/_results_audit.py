"""Run ``andon audit`` for folders of results."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from andon.archive.results import Results
    from andon.evaluation.results.back_test import BackTest
    from andon.evaluation.results.promise_audit import By, ResultsAudit, Tally

_PICTURES = (".png", ".svg")


def run_results(args: argparse.Namespace) -> int:
    """Audit the folder, print the finding, draw the picture, and return the code of the finding."""
    import json
    from datetime import UTC, datetime

    from andon.archive.results import open_results
    from andon.foundation.atomic import write_atomically
    from andon.foundation.extras import needs

    by = _groups(args.by)
    _refuse_other_pictures(args.out)
    results = open_results(args.file)
    older = None if args.against is None else open_results(args.against)
    with needs("calibrate", "auditing"):
        from andon.evaluation.results.audit_text import back_test_lines, promise_lines
        from andon.evaluation.results.back_test import back_test
        from andon.evaluation.results.promise_audit import audit_results, tally

    good_label = "good" if args.good_label is None else args.good_label
    counted = tally(
        results,
        good_label=good_label,
        with_history=args.out is not None,
        separate_repeats=bool(args.separate_repeats),
    )
    audit = audit_results(
        counted,
        today=datetime.now(UTC).date().isoformat(),
        by=by,
        alpha=args.false_reject,
        confidence=args.confidence,
        looks="anytime" if args.any_time else "once",
        one_per_lot=args.one_per_lot,
    )
    test = None if older is None else back_test(results, older, good_label=good_label)
    if args.out is not None:
        write_atomically(args.out, _picture(results, counted, audit, Path(args.out).suffix.lower()))
    if args.json:
        facts = _facts(results, audit)
        if test is not None and older is not None:
            facts["back_test"] = _back_test_facts(test, older)
        if args.out is not None:
            facts["picture"] = str(args.out)
        print(json.dumps(facts))
    else:
        lines = promise_lines(audit, results.manifest)
        if test is not None and older is not None:
            lines += back_test_lines(test, results.manifest, older.manifest)
        if args.out is not None:
            if counted.history is not None and counted.history.without_day:
                lines.append(f"undated      {counted.history.without_day} scores without a time are not in the picture")
            lines.append(f"written      {args.out}")
        print("\n".join(lines))
    return _code(audit)


def _groups(text: str | None) -> "tuple[By, ...] | None":
    from andon.foundation.errors import ConfigError
    from andon.foundation.settings import nearest

    if text is None:
        return None
    known: dict[str, By] = {"line": "line", "day": "day", "lot": "lot"}
    groups = []
    for word in (part.strip() for part in text.split(",")):
        if word not in known:
            raise ConfigError(
                f"--by: expected line, day or lot, or several with commas, got {word!r}{nearest(word, known)}."
            )
        groups.append(known[word])
    return tuple(groups)


def _refuse_other_pictures(out: str | None) -> None:
    from andon.foundation.errors import ConfigError

    if out is not None and Path(out).suffix.lower() not in _PICTURES:
        raise ConfigError(f"--out: expected a name that ends with .png or .svg, got {out}. Example: --out drift.png.")


def _picture(results: "Results", counted: "Tally", audit: "ResultsAudit", suffix: str) -> bytes:
    from andon.drawing.style import png_of, svg_of
    from andon.evaluation.results.drift_picture import SHARES, DriftData, draw
    from andon.evaluation.results.part_counts import count_by

    assert counted.history is not None  # `tally` collects it for the picture
    model, promise = results.manifest.identity.model, counted.promise
    alpha = promise.alpha if promise is not None and promise.promised else None
    figure = draw(
        DriftData(
            model=f"{model.name} ({model.short})",
            threshold=model.threshold,
            lines=counted.history.quantiles(counted.lines, SHARES, counted.marks),
            rejects=count_by(counted.cells, counted.marks, by="day"),
            alpha=audit.total.audit.alpha if audit.total is not None else alpha,
            labelled=audit.labelled,
        )
    )
    return svg_of(figure) if suffix == ".svg" else png_of(figure)


def _facts(results: "Results", audit: "ResultsAudit") -> dict[str, Any]:
    import msgspec

    manifest = results.manifest
    facts: dict[str, Any] = {
        "results": results.folder,
        "model": msgspec.to_builtins(manifest.identity.model),
        "complete": manifest.complete,
        "rows": audit.rows,
        "repeated": audit.repeated,
        "labelled": audit.labelled,
        "one_per_lot": audit.one_per_lot,
    }
    if audit.total is not None:
        record = audit.total.audit
        facts |= msgspec.to_builtins(record) | {
            "sentence": record.sentence,
            "parts_in_total": audit.total.parts_in_total,
            "lost": audit.total.lost,
        }
        groups = {
            what: [
                {
                    "name": group.name,
                    "parts": group.audit.parts,
                    "rejects": group.audit.rejects,
                    "lost": group.lost,
                    "lower": group.audit.lower,
                    "upper": group.audit.upper,
                    "finding": group.audit.finding,
                    "parts_in_total": group.parts_in_total,
                    "p": group.p,
                    "p_corrected": group.p_corrected,
                    "violated_after_correction": group.violated,
                }
                for group in found
            ]
            for what, found in audit.groups.items()
        }
    else:
        share = audit.reject_share
        assert share is not None  # an audit has one of both
        facts |= {name: value for name, value in msgspec.to_builtins(share).items() if name != "name"}
        facts |= {"sentence": share.sentence}
        groups = {what: msgspec.to_builtins(found) for what, found in audit.reject_shares.items()}
    return facts | {"groups": groups}


def _back_test_facts(test: "BackTest", older: "Results") -> dict[str, Any]:
    import msgspec

    facts = {"old_results": older.folder, "old_model": msgspec.to_builtins(older.manifest.identity.model)}
    for name, decisions in (("decisions", test.decisions), ("good", test.good)):
        facts[name] = None
        if decisions is not None:
            facts[name] = msgspec.to_builtins(decisions) | {
                "parts": decisions.parts,
                "p_value": decisions.p_value,
                "most_discordant": decisions.most_discordant(),
                "sentence": decisions.sentence(),
            }
    further = {
        name: getattr(test, name) for name in ("independent", "lost", "only_new", "only_old", "discordant_items")
    }
    return facts | further | {"items": msgspec.to_builtins(test.items)}


def _code(audit: "ResultsAudit") -> int:
    """Return 0 for confirmed, 1 for violated, 3 for not decided. Without labels nothing is decided."""
    if audit.total is None:
        return 3
    some = any(group.violated for groups in audit.groups.values() for group in groups)
    if some or audit.total.audit.finding == "violated":
        return 1
    return 0 if audit.total.audit.finding == "confirmed" else 3
