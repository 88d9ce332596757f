"""Recommendations that no training made."""

from andon.evaluation.figures.intervals import Interval
from andon.training.recommendation.result import Recommendation, Row


def row(name: str, latency_ms: float, auroc: float | None, *, budget_ms: float = 30.0) -> Row:
    """Return a row. On labelled parts, the AUROC is higher by .05."""
    return Row(
        name=name,
        latency_ms=latency_ms,
        low_ms=0.9 * latency_ms,
        high_ms=1.1 * latency_ms,
        latency_p99_ms=2 * latency_ms,
        cpu_ms=0.8 * latency_ms,
        keeps_budget=latency_ms <= budget_ms,
        file_mb=1.0,
        train_s=3.0,
        auroc=auroc,
        auroc_interval=None if auroc is None else Interval(low=auroc - 0.05, high=auroc + 0.05),
        invalid=0,
        real_auroc=None if auroc is None else auroc + 0.05,
        real_interval=None,
    )


def some() -> Recommendation:
    """Return the recommendation of one of two candidates."""
    return Recommendation(
        data="parts",
        budget_ms=30.0,
        gain=0.03,
        seed=0,
        chosen="fast",
        rival=None,
        difference=None,
        difference_interval=None,
        decided=False,
        sentence="Ship fast.",
        notes=(),
        rows=(row("fast", 7.0, 0.9), row("slow", 60.0, 0.94)),
        failed=(),
        good_parts=100,
        judged_good=20,
        judged_defects=40,
        real_good=5,
        real_defects=6,
        separate=True,
        model="model.onnx",
        promise="",
        command="",
        date="2026-11-30",
    )
