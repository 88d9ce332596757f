"""The command line as people run it: in an interpreter of its own, with packages hidden from it where a test wants it so."""

import subprocess
import sys
from collections.abc import Sequence

_SCRIPT = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden())
{before}
from andon.cli import main
sys.exit(main(sys.argv[1:]))
"""


def andon(*words: object, hidden: Sequence[str] = (), before: str = "") -> "subprocess.CompletedProcess[str]":
    """Run a command.

    Args:
        words: of the command line.
        hidden: packages that seem not to be installed.
        before: a line of Python to begin with.
    """
    return subprocess.run(
        [sys.executable, "-c", _SCRIPT.format(hidden=set(hidden), before=before), *(str(word) for word in words)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
