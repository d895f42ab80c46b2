"""Standard Webhooks signatures, so that a receiver can tell our messages from anybody's.

    webhook-id         the same for every try of a message: receivers drop what they have seen
    webhook-timestamp  seconds of this try: receivers refuse what is old
    webhook-signature  "v1," + base64(HMAC-SHA256(secret, id "." timestamp "." body)), one per secret, with
                       spaces between them

Source: the Standard Webhooks specification, version 1.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

KEY_PREFIX: Final = "whsec_"
_LEAST_OCTETS, _MOST_OCTETS = 16, 256
"""The specification asks for 24 to 64 octets; some senders are older than it."""


def parse_secret(text: str) -> bytes:
    """The key of a secret as it is exchanged, `whsec_` and base64.

    Raises:
        ValueError: anything else. The text is not part of the message: it is a secret.
    """
    try:
        key = base64.b64decode(text.removeprefix(KEY_PREFIX), validate=True)
    except binascii.Error:
        raise ValueError(f"is no secret: {KEY_PREFIX} and base64 is needed") from None
    if not _LEAST_OCTETS <= len(key) <= _MOST_OCTETS:
        raise ValueError(f"holds {len(key)} octets, {_LEAST_OCTETS} to {_MOST_OCTETS} are accepted")
    return key


def headers(keys: Sequence[bytes], message_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """The headers of one try; several keys sign side by side while a secret is being replaced.

    Without a key the message still carries its id and time, but no signature.
    """
    made = {"webhook-id": message_id, "webhook-timestamp": str(timestamp_s)}
    if keys:
        signed = f"{message_id}.{timestamp_s}.".encode() + body
        made["webhook-signature"] = " ".join(
            "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode() for key in keys
        )
    return made
