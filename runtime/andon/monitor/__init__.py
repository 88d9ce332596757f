"""The process that runs next to a line: it reads a source, judges items in order, passes verdicts to sinks, and counts."""
