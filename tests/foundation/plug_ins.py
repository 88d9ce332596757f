"""Distributions of other people, made by a test."""

from pathlib import Path


def install(folder: Path, package: str, group: str, entry: str, module: str) -> None:
    """Put another distribution with one entry point into a folder."""
    info = folder / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    metadata = f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.0\n"
    (info / "METADATA").write_text(metadata, encoding="utf-8")
    (info / "entry_points.txt").write_text(f"[{group}]\n{entry}\n", encoding="utf-8")
    (folder / f"{package}.py").write_text(module, encoding="utf-8")
