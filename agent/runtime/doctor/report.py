"""How diagnoses are shown, on a terminal and as one JSON document, and the exit status that they come to."""

from __future__ import annotations

import json
import textwrap
from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from agent import __version__
from agent.core.names import Name
from agent.runtime.doctor.diagnosis import Diagnosis, Severity, worst
from agent.runtime.lifecycle import ExitStatus
from agent.runtime.wording import one_line

SEVERITY_NAMES: Final = {
    Severity.OK: Name("正常", "ok"),
    Severity.NOTE: Name("提示", "note"),
    Severity.WARNING: Name("警告", "warning"),
    Severity.PROBLEM: Name("故障", "problem"),
}
_SIGNS: Final = {Severity.OK: "✓", Severity.NOTE: "·", Severity.WARNING: "!", Severity.PROBLEM: "✗"}
_WHY: Final = Name("原因", "why")
_REMEDY: Final = Name("处理", "remedy")
_WIDTH: Final = 110


def show(
    program: str, config: Path | None, diagnoses: Sequence[Diagnosis], lang: str, *, as_json: bool
) -> None:
    """Print all that was found."""
    if as_json:
        named = None if config is None else str(config)
        print(json.dumps(document(program, named, diagnoses), ensure_ascii=False, indent=2))
    else:
        print(text(diagnoses, lang))


def document(program: str, config: str | None, diagnoses: Sequence[Diagnosis]) -> dict[str, Any]:
    """All that was found, in both languages; `findings` in the order in which they were judged."""
    counts = Counter(diagnosis.severity for diagnosis in diagnoses)
    return {
        "program": program,
        "version": __version__,
        "config": config,
        "severity": worst(diagnoses).label,
        "counts": {severity.label: counts[severity] for severity in Severity},
        "findings": [diagnosis.document() for diagnosis in diagnoses],
    }


def text(diagnoses: Sequence[Diagnosis], lang: str) -> str:
    """All that was found, for a person: what is well in a line each, then the rest with reasons, the worst last.

    Who ran the command sees its end first.
    """
    lines: list[str] = []
    for _, alike in groupby(sorted(diagnoses, key=lambda one: one.severity), key=_reasons):
        same = list(alike)
        lines += [_heading(one, lang) for one in same]
        if same[0].severity is not Severity.OK:
            lines += _advice(same[0], lang)
    counts = Counter(diagnosis.severity for diagnosis in diagnoses)
    told = [
        f"{counts[one]} {getattr(SEVERITY_NAMES[one], lang)}" for one in reversed(Severity) if counts[one]
    ]
    return "\n".join([*lines, "", ("，" if lang == "zh" else ", ").join(told)])


def _reasons(diagnosis: Diagnosis) -> tuple[object, ...]:
    """What is said of several at once: alike in why they matter, and in what is to be done."""
    return diagnosis.severity, diagnosis.id, diagnosis.remedy


def _heading(diagnosis: Diagnosis, lang: str) -> str:
    severity = getattr(SEVERITY_NAMES[diagnosis.severity], lang)
    subject = f" {one_line(diagnosis.subject)}" if diagnosis.subject else ""
    found = one_line(getattr(diagnosis.found, lang))
    return f"{_SIGNS[diagnosis.severity]} {severity} {diagnosis.id}{subject}: {found}"


def _advice(diagnosis: Diagnosis, lang: str) -> list[str]:
    lines = _indented(getattr(_WHY, lang), getattr(diagnosis.why, lang))
    if diagnosis.remedy is not None:
        lines += _indented(getattr(_REMEDY, lang), getattr(diagnosis.remedy, lang))
    return lines


def _indented(heading: str, words: str) -> list[str]:
    return textwrap.wrap(
        f"{heading}: {one_line(words)}",
        _WIDTH,
        initial_indent="    ",
        subsequent_indent="      ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def exit_status(diagnoses: Sequence[Diagnosis]) -> ExitStatus:
    """1 where one is a problem, else 0."""
    return ExitStatus.FAILED if worst(diagnoses) is Severity.PROBLEM else ExitStatus.OK
