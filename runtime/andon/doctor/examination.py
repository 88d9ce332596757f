"""Run all checks in the order in which their problems follow from each other."""

import os
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from andon.doctor import facts
from andon.doctor.extras import check_extras, packages_of_extras
from andon.doctor.finding import Finding
from andon.doctor.folders import Folder, check_folder
from andon.doctor.machine import check_machine
from andon.doctor.onnxruntime import check_onnxruntime
from andon.doctor.opencv import check_opencv
from andon.doctor.telemetry import check_telemetry
from andon.doctor.versions import check_versions
from andon.foundation.errors import AndonError
from andon.foundation.extras import remedy
from andon.foundation.rival_wheels import onnxruntime_wheels, opencv_wheels
from andon.sources.clock import Clock
from andon.sources.labelled.cache_folder import VARIABLE, cache_folder


def examine(clock: Clock, *, model: Path | None = None, environment: Mapping[str, str] = os.environ) -> list[Finding]:
    """Examine this installation, and a model file on it.

    Args:
        clock: for the check of the wall clock.
        model: a model file to load. Its golden sample is judged and compared with the stored scores.
        environment: environment variables, for telemetry and the cache.
    """
    packages = facts.installed_packages()
    numbers = sys.version_info
    findings = check_versions((numbers.major, numbers.minor, numbers.micro), facts.system(), packages)
    findings += check_onnxruntime(onnxruntime_wheels(), facts.import_in_child("onnxruntime"))
    works = all(finding.ok for finding in findings if finding.subject in ("onnxruntime", "provider CPU"))
    findings += check_extras(packages_of_extras(facts.requirements()), packages, install=remedy, fits=facts.fits)
    opencv = opencv_wheels()
    findings += check_opencv(opencv, facts.import_in_child("cv2") if opencv.state == "code" else None)
    findings += check_telemetry(environment, ray="ray" in packages, ray_setting=facts.ray_setting(facts.home()))
    findings += check_machine(facts.machine(clock.wall_s()))
    findings.append(check_folder(_temporary()))
    findings.append(check_folder(_cache(environment)))
    if model is not None:
        findings.append(_model(model, works=works))
    return findings


def _temporary() -> Folder:
    try:
        return facts.folder("temporary files", Path(tempfile.gettempdir()), "TMPDIR")
    except OSError as error:  # no folder can be written
        return Folder(purpose="temporary files", path="/tmp", variable="TMPDIR", error=str(error))  # noqa: S108


def _cache(environment: Mapping[str, str]) -> Folder:
    try:
        return facts.folder("cache", cache_folder(environment), VARIABLE)
    except RuntimeError:  # from `Path.expanduser`, for a user of a container that /etc/passwd does not list
        return Folder(purpose="cache", path="~", variable=VARIABLE, error="this user has no home folder")


def _model(path: Path, *, works: bool) -> Finding:
    if not works:  # importing a broken library could end this process
        return Finding(
            subject="model",
            ok=False,
            text=f"{path}: not loaded, because ONNX Runtime does not work",
            remedy="Solve the problem of onnxruntime above first.",
        )
    from andon.runtime import Detector

    try:
        detector = Detector.load(path, device="auto", frame_size="any", provider="any")
        detector.verify()
    except AndonError as error:
        return Finding(
            subject="model",
            ok=False,
            text=f"{path}: {error}",
            remedy=f"See 'andon inspect {path}', or export the file again.",
        )
    text = f"{path}: {detector.card.name} ({detector.model.short_digest}) reproduces its golden sample on {detector.device}"
    return Finding(subject="model", ok=True, text=text)
