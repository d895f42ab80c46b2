"""Verdicts: counts in, verdicts and breaches out. Pure: no socket, no event loop, no clock; `now` is an argument."""
