"""What is asked of the kernel beside a datagram."""

from __future__ import annotations

import pytest

from agent.net import control


def test_a_kernel_that_refuses_chosen_numbers_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether numbers can be chosen is found out by trying: a kernel that refuses stamps altogether takes none."""
    monkeypatch.setattr(control, "STAMPING_FLAGS", 1 << 30)
    control.kernel_takes_transmit_ids.cache_clear()
    try:
        assert not control.kernel_takes_transmit_ids()
    finally:
        control.kernel_takes_transmit_ids.cache_clear()
