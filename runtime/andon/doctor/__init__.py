"""Examine this installation: versions, ONNX Runtime, extras, folders and the machine. Each problem has a remedy.

The checks are functions from facts to findings. `facts` reads the facts, and `probe` runs in a process of its own, because a
broken library can end the process that imports it.
"""
