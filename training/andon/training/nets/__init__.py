"""Networks and network parts that several detectors share."""
