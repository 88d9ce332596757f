"""Judge the wheels of ONNX Runtime and each provider: only a session that was opened proves a provider."""

from andon.doctor.finding import Finding
from andon.doctor.probe import CUDA, Imported
from andon.foundation.cuda_libraries import install_line
from andon.foundation.rival_wheels import Wheels, problem, repair

USED = {"CPUExecutionProvider": "CPU", CUDA: "CUDA"}
"""Providers that andon uses."""


def check_onnxruntime(wheels: Wheels, imported: Imported) -> list[Finding]:
    """Return one finding for the wheels, and one for each provider."""
    found = problem(wheels)
    findings = []
    if found is not None:
        findings.append(
            Finding(
                subject="onnxruntime",
                ok=not found.broken,
                warning=not found.broken,
                text=found.text,
                remedy=found.remedy,
            )
        )
    if wheels.state != "code":
        return findings
    if imported.error:
        return [
            *findings,
            Finding(
                subject="onnxruntime", ok=False, text=f"cannot be imported: {imported.error}", remedy=repair(wheels)
            ),
        ]
    if not imported.opened:
        text = f"the module has no sessions (version {imported.version or 'unknown'}), so it is incomplete"
        return [*findings, Finding(subject="onnxruntime", ok=False, text=text, remedy=repair(wheels))]
    if found is None:
        source = f" from the wheel {wheels.in_place}" if wheels.in_place else ""
        findings.append(Finding(subject="onnxruntime", ok=True, text=f"{imported.version}{source}"))
    for one in imported.opened:
        name = USED.get(one.provider, one.provider.removesuffix("ExecutionProvider"))
        if one.runs_on == one.provider:
            findings.append(Finding(subject=f"provider {name}", ok=True, text="a session opens"))
            continue
        why = one.error or f"the session runs on {one.runs_on.removesuffix('ExecutionProvider')} instead"
        if one.provider not in USED:
            text = f"listed, but no session opens. andon does not use it ({why})"
            findings.append(Finding(subject=f"provider {name}", ok=True, text=text))
        elif one.provider == CUDA:
            findings.append(_cuda(why, wheels, imported))
        else:
            findings.append(Finding(subject=f"provider {name}", ok=False, text=why, remedy=repair(wheels)))
    if imported.driver and all(one.provider != CUDA for one in imported.opened):
        text = "a driver of NVIDIA is installed, but this onnxruntime has no CUDA"
        remedy = "pip uninstall -y onnxruntime && pip install --force-reinstall 'onnxruntime-gpu[cuda,cudnn]'"
        findings.append(Finding(subject="provider CUDA", ok=True, text=text, remedy=remedy))
    return findings


def _cuda(why: str, wheels: Wheels, imported: Imported) -> Finding:
    if imported.missing:
        text = f"no session opens ({why}). Missing libraries: {', '.join(imported.missing)}"
        remedy = install_line(wheels.installed.get("onnxruntime-gpu", imported.version))
    elif not imported.driver:
        text = f"no session opens ({why}). The driver of NVIDIA is not installed, or this container has no access to it"
        remedy = "Install the driver of NVIDIA, or start the container with access to the GPU (docker run --gpus all)."
    else:
        text = f"no session opens ({why}), although all libraries load"
        remedy = (
            "Run 'nvidia-smi': it shows whether there is a GPU, and whether its driver is new enough for this CUDA."
        )
    return Finding(subject="provider CUDA", ok=False, text=text, remedy=remedy)
