"""Judge the wheels of OpenCV: several of them write the same folder, and some need libraries of a desktop."""

from andon.doctor.finding import Finding
from andon.doctor.probe import Imported
from andon.foundation.rival_wheels import OPENCV, Wheels, problem, repair


def check_opencv(wheels: Wheels, imported: Imported | None) -> list[Finding]:
    """Return the findings about OpenCV. Empty if it is not installed, because it is optional.

    Args:
        wheels: the wheels that provide ``cv2``.
        imported: the result of its import. None if it is not installed.
    """
    if wheels.state == "absent" and not wheels.installed:
        return []
    found = problem(wheels)
    findings = []
    if found is not None:
        findings.append(
            Finding(
                subject="opencv", ok=not found.broken, warning=not found.broken, text=found.text, remedy=found.remedy
            )
        )
    if wheels.state == "code" and imported is not None:
        if imported.error:
            headless = f"pip uninstall -y {' '.join(wheels.installed)} && pip install {OPENCV[0]}"
            # wheels without "headless" load libGL, which servers and containers do not have
            remedy = headless if wheels.installed and "lib" in imported.error else repair(wheels)
            findings.append(
                Finding(subject="opencv", ok=False, text=f"cannot be imported: {imported.error}", remedy=remedy)
            )
        elif found is None:
            findings.append(Finding(subject="opencv", ok=True, text=imported.version))
    return findings
