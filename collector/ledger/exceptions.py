"""What can be wrong with the ledger.

UnreadableBlock  octets are no block of the ledger, or one of another version
"""

from agent.runtime.exceptions import IsochroneError


class UnreadableBlock(IsochroneError):
    """A block cannot be read."""
