"""What linuxptp's `pmc` prints, and what of it tells how good a clock is.

    sending: GET TIME_STATUS_NP
            7e2864.fffe.bbf4e6-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP
                    master_offset              510
                    gmPresent                  true

A management error reads `RESPONSE MANAGEMENT_ERROR_STATUS …` and has no fields of use. A boundary clock answers
PORT_PROPERTIES_NP once for each of its ports.

Source: linuxptp's pmc.c and pmc(8); IEEE 1588-2019, 15.5.3 for the data sets.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import ceil
from typing import Final, Self

QUESTIONS: Final = (
    "GET TIME_STATUS_NP",
    "GET CURRENT_DATA_SET",
    "GET PARENT_DATA_SET",
    "GET TIME_PROPERTIES_DATA_SET",
    "GET PORT_PROPERTIES_NP",
)

LOCKED: Final = "SLAVE"
FOLLOWING: Final = (LOCKED, "UNCALIBRATED")

_ACCURACY_NS: Final = {
    **dict.fromkeys(range(0x17, 0x1E), 1),
    0x1E: 3,
    0x1F: 10,
    0x20: 25,
    0x21: 100,
    0x22: 250,
    0x23: 1_000,
    0x24: 2_500,
    0x25: 10_000,
    0x26: 25_000,
    0x27: 100_000,
    0x28: 250_000,
    0x29: 1_000_000,
    0x2A: 2_500_000,
    0x2B: 10_000_000,
    0x2C: 25_000_000,
    0x2D: 100_000_000,
    0x2E: 250_000_000,
    0x2F: 1_000_000_000,
    0x30: 10_000_000_000,
}
"""clockAccuracy (IEEE 1588-2019, table 5), rounded up to ns; what is not listed is unknown or worse than 10 s."""

_LONGEST_VALUE: Final = 32
_HEADING: Final = re.compile(r"RESPONSE MANAGEMENT (\w+)")


class Unanswered(ValueError):
    """What pmc printed lacks an answer that is needed, or has one that cannot be read."""


@dataclass(frozen=True, slots=True)
class PtpStatus:
    """What ptp4l says of its clock.

    Attributes:
        offset_ns: of its clock from the master's, as last measured.
        ingress_ns: when the last Sync came in, by its clock.
        grandmaster_present: it follows another clock.
        path_delay_ns: mean path delay to the master, or to the neighbour in peer-to-peer mode; rounded up.
        steps_removed: how many links the grandmaster is away.
        accuracy_ns: what the grandmaster says of its own accuracy; None: not known.
        traceable: the grandmaster's time is traceable to a primary reference.
        timescale_offset_s: its timescale less UTC; None: not known.
        port_state: of the port that follows, SLAVE or UNCALIBRATED; else of any.
        timestamping, interface: of that port; HARDWARE or SOFTWARE.
    """

    offset_ns: int
    ingress_ns: int
    grandmaster_present: bool
    path_delay_ns: int
    steps_removed: int
    accuracy_ns: int | None
    traceable: bool
    timescale_offset_s: int | None
    port_state: str
    timestamping: str
    interface: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what pmc printed for `QUESTIONS`.

        Raises:
            Unanswered: something is missing or cannot be read.
        """
        answers = _answers(text)
        if not answers:
            raise Unanswered("no answer")
        try:
            time, current, parent, properties = (
                answers[question.split()[1]][0] for question in QUESTIONS[:4]
            )
            ports = answers["PORT_PROPERTIES_NP"]
            port = next((port for port in ports if port["portState"] in FOLLOWING), ports[0])
            timescale_offset_s: int | None = 0
            if properties["ptpTimescale"] == "1":
                valid = properties["currentUtcOffsetValid"] == "1"
                timescale_offset_s = int(properties["currentUtcOffset"]) if valid else None
            return cls(
                offset_ns=int(time["master_offset"]),
                ingress_ns=int(time["ingress_time"]),
                grandmaster_present=time["gmPresent"] == "true",
                path_delay_ns=ceil(abs(float(current["meanPathDelay"]))),
                steps_removed=int(current["stepsRemoved"]),
                accuracy_ns=_ACCURACY_NS.get(int(parent["gm.ClockAccuracy"], 16)),
                traceable=properties["timeTraceable"] == "1",
                timescale_offset_s=timescale_offset_s,
                port_state=port["portState"],
                timestamping=port["timestamping"],
                interface=port["interface"],
            )
        except KeyError as error:
            raise Unanswered(f"no {error.args[0]} in the answer") from error
        except (ValueError, OverflowError) as error:
            raise Unanswered(f"an answer cannot be read: {error}") from error


def _answers(text: str) -> dict[str, list[dict[str, str]]]:
    """The fields of each answer, by the name of the data set."""
    found: dict[str, list[dict[str, str]]] = {}
    fields: dict[str, str] = {}
    for line in text.splitlines():
        if heading := _HEADING.search(line):
            fields = {}
            found.setdefault(heading[1], []).append(fields)
            continue
        if "RESPONSE" in line:
            fields = {}
        words = line.split()
        if len(words) == 2 and len(words[1]) <= _LONGEST_VALUE:
            fields[words[0]] = words[1]
    return found
