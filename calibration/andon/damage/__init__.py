"""Draw structured damage onto good pictures: synthetic defects for training (`--repair`) and for measuring (`--synthetic`).

Needs numpy and OpenCV only. All random numbers come from a generator that the caller seeds, for example with (seed, epoch, index).
"""
