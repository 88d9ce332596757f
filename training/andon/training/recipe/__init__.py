"""The definition of a detector: the `Recipe` record, and settings that several detectors share."""
