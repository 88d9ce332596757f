"""Property tests here have no deadline: the machine is shared, and time is no law of these functions."""

from hypothesis import settings

settings.register_profile("calibration", deadline=None)
settings.load_profile("calibration")
