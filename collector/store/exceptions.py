"""What can be wrong with the state file.

StoreError       it is of another program, or of a newer version of this one
"""

from agent.runtime.exceptions import IsochroneError


class StoreError(IsochroneError):
    """The state file cannot be used."""
