"""A request that is not carried out, for a reason that its sender is told."""

from __future__ import annotations

from collections.abc import Mapping


class Refusal(Exception):
    """The answer is an error; the text is for the caller.

    Attributes:
        status: of HTTP.
        headers: what else the answer carries.
    """

    def __init__(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers or {}
