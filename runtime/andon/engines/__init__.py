"""Run a function over many items on engines that exist: processes of this machine, or a Ray cluster.

``open_engine`` returns an `Engine`. Both engines have the same contract, so callers do not know which one works for them.
"""
