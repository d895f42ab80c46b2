"""What people call things, in both languages."""

from __future__ import annotations

from typing import NamedTuple


class Name(NamedTuple):
    """The same in Chinese and English."""

    zh: str
    en: str

    def document(self) -> dict[str, str]:
        """`{"zh": …, "en": …}`."""
        return {"zh": self.zh, "en": self.en}
