"""Compare a detector of windows with the baseline, the mean of the worst channel, in words."""

from andon.evaluation.logs import LogEvaluation


def baseline_sentence(figures: LogEvaluation) -> str:
    """Return a sentence that compares a detector with the baseline on the same windows; empty if nothing can be compared."""
    beats = figures.beats_window_mean
    if beats is None:
        return ""
    if figures.mean_vus_pr is not None and figures.window_mean_vus_pr is not None:
        name, own, baseline = "VUS-PR", figures.mean_vus_pr, figures.window_mean_vus_pr
    else:
        name, own, baseline = "AUROC", figures.mean_auroc or 0.0, figures.window_mean_auroc or 0.0
    mean = f"the mean of the worst channel alone (window_mean) has a {name} of {baseline:.4f}"
    if beats:
        return f"{mean}, this detector {own:.4f}"
    return f"this detector does not beat it: {mean}, this detector {own:.4f}. Try another detector or window length"
