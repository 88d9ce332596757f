"""The process next to the line: it takes what a source gives, judges it in order, passes it to sinks and counts every item."""
