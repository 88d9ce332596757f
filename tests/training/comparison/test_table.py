"""The table of a comparison: seeds, sets, means, and cells that are not done."""

import statistics
from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.training.comparison.made_up import key, result, standing

from andon.foundation.errors import DataError
from andon.training.comparison.results import CellStatus
from andon.training.comparison.table import Table, as_json, markdown, spread, table_of

FAST = "patchcore --preset fast"


def frames(auroc: float, **other: float) -> dict[str, float]:
    return {
        "auroc": auroc,
        "aupr": auroc - 0.01,
        "n_good": 20.0,
        "prevalence": 0.75,
        "threshold": 3.5,
        "false_reject_rate": 0.05,
        "promised": 0.05,
        "within_promise": 1.0,
        "miss_rate": 0.125,
        **other,
    }


def everything() -> list[CellStatus]:
    cells = [standing(key(seed=seed), result(key(seed=seed), frames(0.95 + seed / 100))) for seed in range(5)]
    cells += [
        standing(key(FAST, seed=seed), result(key(FAST, seed=seed), frames(0.98 + seed / 1000, aupro=0.9)))
        for seed in range(2)
    ]
    cells += [standing(key(FAST, "pill10", seed), result(key(FAST, "pill10", seed), frames(0.9))) for seed in range(2)]
    cells += [
        standing(key(of_set="pill9"), result(key(of_set="pill9"), frames(0.5, within_promise=0.0), train_s=None)),
        standing(key(of_set="pill9", seed=1), failure="good/3.png: cannot be read | truncated"),
        standing(key(of_set="pill9", seed=2), busy=True),
        standing(key(of_set="pill9", seed=3)),
        standing(
            key("window_vae", "valve1"),
            result(
                key("window_vae", "valve1"),
                {
                    "mean_auroc": 0.54,
                    "auroc": 0.51,
                    "of_tomorrow": 0.75,
                    "false_events_a_day": 12.0,
                    "auroc_low": 0.4,
                    "faults_caught": 1.0,
                },
                kind="window",
            ),
        ),
    ]
    return cells


def test_people_read_rows_by_set_best_first_and_means_over_sets(golden_text: Callable[[str, str], None]) -> None:
    golden_text("table.md", markdown(table_of(everything())))


def test_programs_read_all_figures(golden_text: Callable[[str, str], None]) -> None:
    text = as_json(table_of(everything()))

    assert msgspec.json.decode(text, type=Table) == table_of(everything())
    golden_text("table.json", text.decode())


def test_the_order_in_which_folders_are_found_does_not_matter() -> None:
    assert table_of(everything()[::-1]).rows == table_of(everything()).rows


def test_a_mean_over_sets_weighs_each_set_the_same_however_many_seeds_it_has() -> None:
    cells = [standing(key(seed=seed), result(key(seed=seed), {"auroc": 1.0})) for seed in range(9)]
    cells.append(standing(key(of_set="pill"), result(key(of_set="pill"), {"auroc": 0.5})))

    (mean,) = table_of(cells).means

    assert (mean.figures["auroc"].mean, mean.sets, mean.n) == (0.75, 2, 1)


def test_the_spread_of_a_mean_over_sets_is_that_from_seed_to_seed() -> None:
    values = {("a", 0): 0.8, ("b", 0): 0.6, ("a", 1): 1.0, ("b", 1): 0.8, ("a", 2): 0.1}
    cells = [standing(key(of_set=one, seed=seed), result(key(of_set=one, seed=seed), {"auroc": value}))
             for (one, seed), value in values.items()]  # fmt: skip

    figure = table_of(cells).means[0].figures["auroc"]

    assert [figure.low, figure.high] == pytest.approx([0.7, 0.9])
    assert figure.n == 2


def test_a_figure_that_one_set_lacks_has_no_mean_over_sets() -> None:
    cells = [
        standing(key(of_set="a"), result(key(of_set="a"), {"auroc": 0.8, "aupro": 0.9})),
        standing(key(of_set="b"), result(key(of_set="b"), {"auroc": 0.6})),
    ]

    figures = table_of(cells).means[0].figures

    assert "auroc" in figures
    assert "aupro" not in figures


@given(values=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_a_spread_holds_its_mean(values: list[float]) -> None:
    found = spread(values)

    assert found.low <= found.high
    assert found.low - 1e-12 <= found.mean <= found.high + 1e-12
    assert (found.sd is None) == (found.n == 1)
    assert found.sd is None or found.sd == pytest.approx(statistics.stdev(values))


def test_a_comparison_without_a_result_is_told_in_numbers() -> None:
    assert markdown(table_of([standing(key()), standing(key(seed=1))])) == (
        "0 of 2 cells done, 2 not started or interrupted.\n"
    )


def test_aupr_is_told_with_the_share_of_defects_of_each_set() -> None:
    shares = {("bottle", "patchcore"): 0.759, ("bottle", FAST): 0.759, ("log10", "pca"): 0.304, ("log10", "vae"): 0.347,
              ("log9", "pca"): 0.004, ("none", "pca"): 0.5}  # fmt: skip
    cells = [
        standing(
            key(name, of_set),
            result(
                key(name, of_set), {"prevalence": share, "auroc": 0.9} | ({} if of_set == "none" else {"aupr": 0.8})
            ),
        )
        for (of_set, name), share in shares.items()
    ]

    assert "\n\nAUPR of chance is the share of defects: bottle 76 %, log9 0.4 %, log10 30 to 35 %.\n" in markdown(
        table_of(cells)
    )


def test_sets_with_masks_are_named_with_the_share_that_counts() -> None:
    masks = {"ignore": "a" * 64, "region": "b" * 64}
    masked = key(data={"train": "sets/bottle", **masks})
    waiting = key(of_set="pill", data={"train": "sets/pill", "region": "c" * 64})
    plain = key(of_set="valve")
    done = msgspec.structs.replace(result(masked, frames(0.9)), judged_share=0.875)
    cells = [standing(masked, done), standing(waiting), standing(plain, result(plain, frames(0.9)))]

    table = table_of(cells)

    assert [(one.set, one.ignore, one.region, one.judged_share) for one in table.masks] == [
        ("bottle", "a" * 64, "b" * 64, 0.875),
        ("pill", None, "c" * 64, None),
    ]
    assert (
        f"Sets with masks: bottle 87.5 % of the pixels count (ignore sha256 {'a' * 12}, region sha256 {'b' * 12}), "
        f"pill (region sha256 {'c' * 12})." in markdown(table)
    )
    assert "masks" not in markdown(table_of(cells[2:]))


def test_defects_that_lie_only_in_ignored_pixels_are_counted_for_each_set() -> None:
    masked = [key(name, data={"train": "sets/bottle", "ignore": "a" * 64}) for name in ("patchcore", FAST)]
    cells = [
        standing(of, result(of, frames(0.9, ignored_defects=float(count), unmasked=0.0, frames=0.0)))
        for of, count in zip(masked, (3, 2), strict=True)
    ]
    text = markdown(table_of(cells))

    assert "Defective parts whose defects lie only in ignored pixels: bottle 3." in text
    assert "unmasked" not in text  # these counts have no column
    assert "ignored defects" not in text
    assert "lie only in ignored" not in markdown(table_of([standing(masked[0], result(masked[0], frames(0.9)))]))


def test_of_a_log_the_share_of_defects_is_that_of_its_windows() -> None:
    figures = {"aupr": 0.8, "good_windows": 60.0, "defective_windows": 20.0}

    text = markdown(table_of([standing(key(), result(key(), figures, kind="window"))]))

    assert "share of defects: bottle 25 %.\n" in text


def test_detectors_that_do_not_beat_the_baseline_are_named_for_each_set() -> None:
    figures = {
        "pca": {"mean_vus_pr": 0.40, "window_mean_vus_pr": 0.41},
        "whitening": {"mean_vus_pr": 0.55, "window_mean_vus_pr": 0.41},
        "window_mean": {"mean_vus_pr": 0.41, "window_mean_vus_pr": 0.41},
    }
    cells = [
        standing(key(name, "pump"), result(key(name, "pump"), some, kind="window")) for name, some in figures.items()
    ]

    text = markdown(table_of(cells))

    assert "do not beat the baseline" in text
    assert "- pump: `pca` (0.400 against 0.410)\n" in text
    assert "window mean vus pr" not in text  # no column shows it


def test_nothing_is_said_if_all_detectors_beat_the_baseline() -> None:
    some = {"mean_auroc": 0.9, "window_mean_auroc": 0.8}

    text = markdown(table_of([standing(key("pca", "pump"), result(key("pca", "pump"), some, kind="window"))]))

    assert "baseline" not in text


def test_a_folder_without_cells_is_refused() -> None:
    with pytest.raises(DataError, match=r"here: expected the folder of a comparison"):
        table_of([], where="here")
