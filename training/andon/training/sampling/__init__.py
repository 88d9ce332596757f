"""New parts from detectors that generate."""
