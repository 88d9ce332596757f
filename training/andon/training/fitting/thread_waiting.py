"""Import PyTorch so that its threads sleep while they wait for each other. Importing this module is all there is to do.

OpenMP reads the policy once, when PyTorch is loaded. By default its threads spin while they wait and take the core from
whatever else runs: two threads next to another job took 8 times the CPU seconds of one thread, and with this 1.5 times. The
environment of the host is left as it was. Nothing can be done where PyTorch was imported before.
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
