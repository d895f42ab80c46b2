"""What is given back to the kernel, and that the program goes on."""

from __future__ import annotations

import subprocess
import sys

from agent.runtime.memory import Mapping, unwritten

SMAPS = """\
7f0000000000-7f0000002000 r-xp 00001000 fd:00 42                         /usr/lib/libsome thing.so
Rss:                   8 kB
Anonymous:             0 kB
VmFlags: rd ex mr mw me
7f0000002000-7f0000003000 r--p 00003000 fd:00 42                         /usr/lib/libsome thing.so
Rss:                   4 kB
Anonymous:             4 kB
7f0000003000-7f0000004000 r--p 00004000 fd:00 42                         /usr/lib/libsome thing.so
Anonymous:             0 kB
7f0000004000-7f0000005000 rw-p 00005000 fd:00 42                         /usr/lib/libsome thing.so
Anonymous:             0 kB
7f0000005000-7f0000006000 r--p 00000000 00:00 0
Anonymous:             0 kB
7f0000006000-7f0000007000 r--s 00000000 fd:00 43                         /var/cache/shared
Anonymous:             0 kB
7fff00000000-7fff00001000 r-xp 00000000 00:00 0                          [vdso]
Anonymous:             0 kB
"""


def test_only_what_is_a_files_own_content() -> None:
    """Neither what can be written to, nor what has been, nor what is shared, nor what is no file's."""
    assert list(unwritten(SMAPS.splitlines())) == [
        Mapping(0x7F0000000000, 0x7F0000002000),
        Mapping(0x7F0000003000, 0x7F0000004000),
    ]


_PROGRAM = """
import re, sys
import numpy as np
from agent.runtime.memory import give_back
def resident_kb():
    return int(re.search(r"RssFile:\\s+(\\d+)", open("/proc/self/status").read())[1])
before = resident_kb()
give_back()
assert resident_kb() < before / 2, (before, resident_kb())
assert int(np.sort(np.arange(1000)[::-1]).sum()) == 499500
import json, decimal
assert json.dumps(str(decimal.Decimal(1) / 3)).startswith('"0.333')
"""


def test_a_program_goes_on_with_half_of_its_files_pages() -> None:
    """Most of what importing has touched is not in use; and all that is works as before, loaded before or after."""
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True, timeout=60)


def test_what_a_start_leaves_is_never_looked_through() -> None:
    """A start without garbage collection ends with all that is there set aside; one that collects changes nothing."""
    program = (
        "import gc; from agent.runtime.memory import begin_collecting;"
        "begin_collecting(); assert (gc.isenabled(), gc.get_freeze_count()) == (True, 0);"
        "gc.disable(); begin_collecting(); assert gc.isenabled() and gc.get_freeze_count() > 1_000"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_first_packet_waits_for_nothing_that_serves() -> None:
    """Neither the command nor the running agent imports what serves HTTP before it is needed."""
    program = (
        "import sys, agent.cli, agent.program;"
        "sys.exit('aiohttp' in sys.modules or 'prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
