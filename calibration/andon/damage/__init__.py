"""Synthetic defects: structured damage drawn onto good pictures, to learn from (`--repair`) and to measure by (`--synthetic`).

Needs numpy and OpenCV only. Drawn from a generator that the caller seeds, for example by (seed, epoch, index).
"""
