"""Why a probe cannot be made at all.

IsochroneError           of agent.runtime.exceptions
└── TraceImpossible      no probe of a trace can be sent; says what would mend it
"""

from agent.runtime.exceptions import IsochroneError


class TraceImpossible(IsochroneError):
    """A trace cannot be made."""
