"""Text that is shown: one short line that cannot turn what stands beside it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from agent.runtime.exceptions import ConfigError
from agent.runtime.label_text import LONGEST, LabelText, NameText
from agent.runtime.settings import parse
from agent.settings import AgentSettings

LABEL: TypeAdapter[str] = TypeAdapter(LabelText)
NAME: TypeAdapter[str] = TypeAdapter(NameText)


@given(st.text(st.characters(exclude_categories=["C", "Zl", "Zp"]), min_size=1, max_size=LONGEST))
def test_every_line_is_a_name(text: str) -> None:
    """Letters of any writing, signs and spaces are taken as they are."""
    assert NAME.validate_python(text) == LABEL.validate_python(text) == text


@pytest.mark.parametrize("text", ["a\nb", "a\x00", "\u202eabc", "a\u2028b", "a" * (LONGEST + 1)])
def test_what_would_spoil_a_table_is_refused(text: str) -> None:
    """Line breaks, control characters, turned writing and endless text are not."""
    for kind in (LABEL, NAME):
        with pytest.raises(ValidationError):
            kind.validate_python(text)


def test_a_label_may_be_empty() -> None:
    """A label without a value is none; a name has to be one."""
    assert LABEL.validate_python("") == ""
    with pytest.raises(ValidationError):
        NAME.validate_python("")


def test_what_would_be_accepted_is_told() -> None:
    """The message of a file says so, with the place, and shows the value without its line break."""
    with pytest.raises(ConfigError) as caught:
        parse('site: "a\\nb"\n', AgentSettings, "agent.yaml")
    problem = caught.value.problems[0]
    assert (problem.line, problem.key) == (1, "site")
    assert problem.message == '"a\\nb" is not accepted: one line of text, 1 to 128 characters'
