"""What a detector is: the `Recipe` record and settings that several detectors share."""
