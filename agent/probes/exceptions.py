"""Why a probe cannot be made at all.

IsochroneError               of agent.runtime.exceptions
└── TraceImpossible          no probe of a trace can be sent; says what would mend it
    └── TargetOutOfReach     that is no fault of the command: its name is not known, or no way leads to it
"""

from agent.runtime.exceptions import IsochroneError


class TraceImpossible(IsochroneError):
    """A trace cannot be made."""


class TargetOutOfReach(TraceImpossible):
    """The target's name cannot be resolved, or the kernel sends nothing there."""
