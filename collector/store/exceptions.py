"""What can be wrong with the state file, and with what is asked of it.

StoreError       it is of another program, or of another version of this one, or cannot be read and written,
                 or another collector uses it
StateGone        the file was removed or replaced while it was used
StateAway        it cannot be read or written at the moment: its disk is full, its server has gone
UnknownWindow    there is no maintenance window of this id
WindowRefused    a maintenance window cannot be added or ended like that
"""

from agent.runtime.exceptions import IsochroneError


class StoreError(IsochroneError):
    """The state file cannot be used."""


class StateGone(StoreError):
    """The state file is no longer where it was: whoever begins anew finds or makes another one."""


class StateAway(StoreError):
    """The state cannot be read or written at the moment; whoever begins anew, later, may find that it can."""


class UnknownWindow(IsochroneError):
    """There is no such maintenance window."""


class WindowRefused(IsochroneError):
    """A change of a maintenance window is not allowed; the text says what would be."""
