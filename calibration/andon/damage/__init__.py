"""Draw structured damage onto good pictures: synthetic defects for training (`--repair`) and for measuring (`--synthetic`).

Needs numpy and OpenCV only. The caller seeds the random generator, for example with (seed, epoch, index).
"""
