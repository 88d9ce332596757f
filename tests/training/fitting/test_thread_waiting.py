"""The wait policy of PyTorch's threads is set when training is imported."""

import os
import subprocess
import sys

import pytest

SPY = """
import os, sys
class Spy:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print(os.environ.get("OMP_WAIT_POLICY"))
            raise ImportError("far enough")
sys.meta_path.insert(0, Spy())
try:
    import andon.training.MODULE
except ImportError:
    print(os.environ.get("OMP_WAIT_POLICY"))
"""


def policies(module: str, **given: str) -> list[str]:
    """Return the policy at the import of torch, and afterwards."""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"} | given
    code = SPY.replace("MODULE", module)
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return ran.stdout.split()


@pytest.mark.parametrize("module", ["runs.train", "recipe.recipe", "runs.export_run"])
def test_threads_sleep_while_they_wait_without_the_command_line_too_and_the_environment_stays(module: str) -> None:
    assert policies(module) == ["PASSIVE", "None"]


def test_what_the_user_chose_stays() -> None:
    assert policies("runs.train", OMP_WAIT_POLICY="ACTIVE") == ["ACTIVE", "ACTIVE"]
