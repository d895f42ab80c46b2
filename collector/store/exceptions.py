"""What can be wrong with the state file.

StoreError       it is of another program, or of another version of this one, or cannot be read and written,
                 or another collector uses it
"""

from agent.runtime.exceptions import IsochroneError


class StoreError(IsochroneError):
    """The state file cannot be used."""
