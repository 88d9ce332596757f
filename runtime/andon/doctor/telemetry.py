"""Report which packages send usage data from this environment, and how to switch it off."""

from collections.abc import Mapping

from andon.doctor.finding import Finding


def check_telemetry(environment: Mapping[str, str], *, ray: bool, ray_setting: bool | None) -> list[Finding]:
    """Return what ONNX Runtime and Ray would send.

    andon switches both off in the processes that it starts, so this concerns other programs of the same environment.

    Args:
        environment: the environment variables.
        ray: True if Ray is installed.
        ray_setting: ``usage_stats`` in the user's ``~/.ray/config.json``. None if it is not there.
    """
    onnxruntime_off = environment.get("ORT_DISABLE_TELEMETRY") == "1"
    findings = [
        Finding(
            subject="telemetry of onnxruntime",
            ok=True,
            text="off"
            if onnxruntime_off
            else "off in andon. Other programs of this environment send it since onnxruntime 1.29",
            remedy="" if onnxruntime_off else "export ORT_DISABLE_TELEMETRY=1",
        )
    ]
    if ray:
        variable = environment.get("RAY_USAGE_STATS_ENABLED")
        off = variable == "0" or (variable != "1" and ray_setting is False)
        findings.append(
            Finding(
                subject="telemetry of ray",
                ok=True,
                text="off" if off else "off in clusters that andon starts. Other clusters of this environment send it",
                remedy="" if off else "export RAY_USAGE_STATS_ENABLED=0",
            )
        )
    return findings
