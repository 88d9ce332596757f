"""Import PyTorch with threads that sleep while they wait for each other. Importing this module is enough.

OpenMP reads the wait policy once, when PyTorch is loaded. By default its threads spin while they wait and take CPU time
from other processes. Next to another job, two threads took 8 times the CPU seconds of one thread; with this policy 1.5
times. The environment variable is removed again afterwards. The policy has no effect if PyTorch was imported before.
"""

import os
import sys

_POLICY = "OMP_WAIT_POLICY"

if "torch" not in sys.modules and _POLICY not in os.environ:
    os.environ[_POLICY] = "PASSIVE"
    try:
        import torch  # noqa: F401
    finally:
        del os.environ[_POLICY]
