"""Networks and their parts that several detectors share."""
