"""The ledger's arithmetic: counters into minutes that are never counted twice, and minutes into compressed blocks.

Pure: numbers in, numbers out. No socket, no event loop, no clock, no database; what keeps them is `collector.store`.
"""
