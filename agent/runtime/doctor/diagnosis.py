"""What doctor says of one thing: how bad it is, what was found, why it matters, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, Final, NamedTuple

from agent.core.names import Name

Numbers = Mapping[str, float | int | str | bool | None]
"""What was measured, by name; the name ends with the unit."""

NOTHING: Final[Numbers] = {}


class Severity(IntEnum):
    """How bad it is.

    OK         as it should be
    NOTE       worth knowing; nothing need be done
    WARNING    measures or judges worse than it could, or will break
    PROBLEM    does not do what the configuration says, or proves nothing of it
    """

    OK = 0
    NOTE = 1
    WARNING = 2
    PROBLEM = 3

    @property
    def label(self) -> str:
        """As it stands in the JSON document."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """One finding.

    Attributes:
        id: stable, of the kind of finding; `subject` tells several of a kind apart.
        severity: how bad it is.
        found: what was found, with its number.
        why: why that matters.
        remedy: what to do about it; None where nothing need be done.
        subject: a target, an address, a file; empty where there is but one.
        numbers: what `found` tells, for programs.
    """

    id: str
    severity: Severity
    found: Name
    why: Name
    remedy: Name | None = None
    subject: str = ""
    numbers: Numbers = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """The finding as JSON."""
        return {
            "id": self.id,
            "subject": self.subject,
            "severity": self.severity.label,
            "found": self.found.document(),
            "why": self.why.document(),
            "remedy": None if self.remedy is None else self.remedy.document(),
            "numbers": dict(self.numbers),
        }


class Check(NamedTuple):
    """A kind of finding: its id, and why it matters."""

    id: str
    why: Name

    def ok(self, found: Name, subject: str = "", numbers: Numbers = NOTHING) -> Diagnosis:
        """All is well."""
        return Diagnosis(self.id, Severity.OK, found, self.why, None, subject, numbers)

    def note(
        self, found: Name, remedy: Name | None = None, subject: str = "", numbers: Numbers = NOTHING
    ) -> Diagnosis:
        """Worth knowing."""
        return Diagnosis(self.id, Severity.NOTE, found, self.why, remedy, subject, numbers)

    def warning(self, found: Name, remedy: Name, subject: str = "", numbers: Numbers = NOTHING) -> Diagnosis:
        """Could be better, or will be worse."""
        return Diagnosis(self.id, Severity.WARNING, found, self.why, remedy, subject, numbers)

    def problem(self, found: Name, remedy: Name, subject: str = "", numbers: Numbers = NOTHING) -> Diagnosis:
        """Does not do what it should."""
        return Diagnosis(self.id, Severity.PROBLEM, found, self.why, remedy, subject, numbers)


def worst(diagnoses: Iterable[Diagnosis]) -> Severity:
    """How bad the worst of them is."""
    return max((diagnosis.severity for diagnosis in diagnoses), default=Severity.OK)
