"""The reject devices, one per file. Each file ends with a record `REJECT`."""
