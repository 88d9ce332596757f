"""Invented results of cells, for tests of tables and folders."""

from andon.calibration.request import PromiseRequest
from andon.training.comparison.plan import Key
from andon.training.comparison.results import CellStatus, Cost, Failure, Result


def key(name: str = "patchcore", of_set: str = "bottle", seed: int = 0, **other: object) -> Key:
    fields: dict[str, object] = {
        "detector": name.partition(" ")[0],
        "version": 1,
        "settings": {"preset": "fine"},
        "data": {"train": f"sets/{of_set}"},
        "wish": PromiseRequest(),
    }
    return Key(name=name, set=of_set, seed=seed, **{**fields, **other})  # type: ignore[arg-type]


def result(of: Key, figures: dict[str, float], *, kind: str = "frame", train_s: float | None = 12.5) -> Result:
    return Result(
        cell=of,
        kind="window" if kind == "window" else "frame",
        figures=figures,
        promise="none of these parts exists",
        n_train=40,
        n_validation=0,
        n_calibration=20,
        training=Cost(wall_s=train_s, cpu_s=None),
        export_s=1.5,
        evaluate_s=2.5,
        latency_ms=21.75,
        gemm_ms=33.0,
        item_shape=(320, 320, 3),
        file_mb=5.214,
        model="0123456789ab",
        fingerprint="f" * 64,
        threads=1,
        device="cpu",
        andon="0.1.0",
        versions={"torch": "2.13.0"},
        date="2026-11-25",
    )


def standing(of: Key, done: Result | None = None, *, failure: str = "", busy: bool = False) -> CellStatus:
    failed = Failure(message=failure, kind="DataError", date="2026-11-25") if failure else None
    folder = f"{of.set}/{of.name.replace(' ', '')}/seed-{of.seed}"
    return CellStatus(key=of, folder=folder, result=done, failure=failed, busy=busy)
