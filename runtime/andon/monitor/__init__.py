"""The process beside the line: takes what a source gives, judges it in order, tells sinks, and accounts for every item."""
