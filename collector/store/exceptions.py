"""What can be wrong with the state file.

StoreError       it is of another program, or of another version of this one, or cannot be read and written,
                 or another collector uses it
  OvertakenError other collectors write to it faster than this one can
"""

from agent.runtime.exceptions import IsochroneError


class StoreError(IsochroneError):
    """The state file cannot be used."""


class OvertakenError(StoreError):
    """Other collectors write to the same database faster than this one can."""
