"""The sinks, one per file. Each file ends with a record `SINK`."""
