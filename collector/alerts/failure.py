"""Why a receiver could not be reached, in words that give no secret away.

The text of an HTTP client's exception may hold the whole address, and in the address of a webhook the path or the
query is the secret. So nothing of the exception is passed on but what is known to be harmless.
"""

from __future__ import annotations

import os

import aiohttp


def describe(error: BaseException) -> str:
    """A short reason that names neither the address nor what was sent."""
    match error:
        case TimeoutError():
            return "no answer in time"
        case aiohttp.ClientConnectorCertificateError():
            return "its TLS certificate is not trusted"
        case aiohttp.ClientConnectorDNSError():
            return "its name cannot be resolved"
        case aiohttp.ClientConnectorError(os_error=OSError(errno=int(number))):
            return f"cannot connect: {os.strerror(number).lower()}"
        case aiohttp.ServerDisconnectedError():
            return "closed the connection without an answer"
        case _:
            return f"failed: {type(error).__name__}"
