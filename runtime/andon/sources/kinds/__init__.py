"""The sources, one per file. Each file ends with a record `SOURCE`."""
