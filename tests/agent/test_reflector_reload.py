"""A running agent takes over who may ask its reflector, and with which keys."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from ipaddress import ip_network
from pathlib import Path

import pytest

from agent.core.authentication import Key, serialise_sender
from agent.core.stamp import SenderPacket
from agent.program import Agent, RestartNeeded
from agent.reflector_settings import ReflectorSettings
from agent.runtime.exceptions import ConfigError
from agent.runtime.quantities import Endpoint
from agent.settings import AgentSettings
from tests.support.processes import eventually, free_port
from tests.support.tlvs import KEY, OTHER_KEY


async def test_a_reload_takes_other_keys_over(tmp_path: Path) -> None:
    """SIGHUP reads the same credentials file anew, and who may ask and how replies may be marked; a file of keys that
    is no good changes nothing, and the reflector's address is only changed by a restart."""
    keys = tmp_path / "keys.yaml"
    keys.touch(mode=0o600)
    keys.write_text(f"keys: {{default: 'hex:{KEY.secret.hex()}'}}\n")
    reflector = ReflectorSettings(
        listen=(Endpoint("127.0.0.1", free_port(socket.SOCK_DGRAM)),), credentials=Path("keys.yaml")
    )
    found = [AgentSettings(site="target", reflector=reflector)]
    agent = Agent(found[0], read=lambda: found[-1], folder=tmp_path)
    assert agent.reflector is not None
    stop = asyncio.Event()
    running = asyncio.create_task(agent.run(stop))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        peer.connect(agent.reflector.sockets[0].address)
        asked: dict[Key | None, bytearray] = {
            key: serialise_sender(SenderPacket(1, 1, 0x8AD2, 7), key) for key in (KEY, OTHER_KEY)
        }
        asked[None] = bytearray(SenderPacket(1, 1, 0x8AD2, 7).serialise())

        async def answered(*keys: Key | None) -> bool:
            """Whether these are answered and no other."""
            peer.settimeout(0.2)
            got = []
            for key, octets in asked.items():
                await asyncio.to_thread(peer.send, octets)
                try:
                    await asyncio.to_thread(peer.recv, 200)
                    got.append(key)
                except TimeoutError:
                    pass
            return tuple(got) == keys

        await eventually(lambda: answered(KEY), "the first key")
        keys.write_text(f"keys: {{7: ['hex:{OTHER_KEY.secret.hex()}', 'hex:{KEY.secret.hex()}']}}\n")
        os.kill(os.getpid(), signal.SIGHUP)
        await eventually(lambda: answered(KEY, OTHER_KEY), "both keys")
        allowing = reflector.model_copy(update={"allow": (ip_network("127.0.0.1"),), "dscp": (46,)})
        found.append(found[0].model_copy(update={"reflector": allowing}))
        await agent.reload()
        assert await answered(KEY, OTHER_KEY, None)
        keys.write_text("keys: {}\n")
        with pytest.raises(ConfigError):
            await agent.reload()
        for name, changed in (
            ("reflector.cpu", reflector.model_copy(update={"cpu": 20})),
            ("reflector", None),
        ):
            found.append(found[0].model_copy(update={"reflector": changed}))
            with pytest.raises(RestartNeeded, match=f"by a restart: {name}$"):
                await agent.reload()
        assert await answered(KEY, OTHER_KEY, None)
    stop.set()
    assert await running
