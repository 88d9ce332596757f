"""The outputs, one per file. Each file ends with a record `OUTPUT`."""
