"""Run by the hostile corpus in a process of its own: load each file named on stdin, judge, print one JSON line a file.

    python judge_files.py ITEMS.npy < paths

Address space is bounded, so that a forged size ends in an error and not in a machine without memory.
"""

import json
import sys
import warnings

import numpy as np

from andon.runtime import AndonError, Detector


def main() -> None:
    warnings.simplefilter("error")
    items = list(np.load(sys.argv[1]))
    for line in sys.stdin:
        path = line.rstrip("\n")
        told: dict[str, object] = {"file": path}
        try:
            verdicts = Detector.load(path).batch(items)
            told["verdicts"] = [(v.status.name, int(v.reason), v.score, v.threshold, v.p_value) for v in verdicts]
        except AndonError as error:
            told["refused"] = str(error)
        except BaseException as error:  # noqa: BLE001 - this is what the corpus looks for
            told["foreign"] = f"{type(error).__name__}: {error}"
        print(json.dumps(told), flush=True)


def bound_memory() -> None:
    """Let a forged size end in an error, and a crash leave no core."""
    if sys.platform == "linux":
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    bound_memory()
    main()
