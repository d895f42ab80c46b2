"""What linuxptp's pmc prints."""

from __future__ import annotations

from typing import Final

FOLLOWING: Final = """\
sending: GET TIME_STATUS_NP
sending: GET CURRENT_DATA_SET
	7e2864.fffe.bbf4e6-0 seq 0 RESPONSE MANAGEMENT TIME_STATUS_NP
		master_offset              -510
		ingress_time               1795420587980493464
		cumulativeScaledRateOffset +0.000000000
		scaledLastGmPhaseChange    0
		gmTimeBaseIndicator        0
		lastGmPhaseChange          0x0000'0000000000000000.0000
		gmPresent                  true
		gmIdentity                 ee655e.fffe.77daf0
sending: GET PARENT_DATA_SET
	7e2864.fffe.bbf4e6-0 seq 1 RESPONSE MANAGEMENT CURRENT_DATA_SET
		stepsRemoved     1
		offsetFromMaster -510.0
		meanPathDelay    2611.5
sending: GET TIME_PROPERTIES_DATA_SET
	7e2864.fffe.bbf4e6-0 seq 2 RESPONSE MANAGEMENT PARENT_DATA_SET
		parentPortIdentity                    ee655e.fffe.77daf0-1
		parentStats                           0
		observedParentOffsetScaledLogVariance 0xffff
		observedParentClockPhaseChangeRate    0x7fffffff
		grandmasterPriority1                  10
		gm.ClockClass                         6
		gm.ClockAccuracy                      0x21
		gm.OffsetScaledLogVariance            0x4e5d
		grandmasterPriority2                  128
		grandmasterIdentity                   ee655e.fffe.77daf0
sending: GET PORT_PROPERTIES_NP
	7e2864.fffe.bbf4e6-0 seq 3 RESPONSE MANAGEMENT TIME_PROPERTIES_DATA_SET
		currentUtcOffset      37
		leap61                0
		leap59                0
		currentUtcOffsetValid 1
		ptpTimescale          1
		timeTraceable         1
		frequencyTraceable    1
		timeSource            0x20
	7e2864.fffe.bbf4e6-1 seq 4 RESPONSE MANAGEMENT PORT_PROPERTIES_NP
		portIdentity            7e2864.fffe.bbf4e6-1
		portState               UNCALIBRATED
		timestamping            SOFTWARE
		interface               v2
"""
"""Recorded of a slave with linuxptp 3.1.1, software timestamps and free_running on a virtual link; the sign of the
offset and the fraction of the delay were added."""

AS_MASTER: Final = (
    FOLLOWING.replace("-510", "0")
    .replace("1795420587980493464", "0")
    .replace("true", "false")
    .replace("stepsRemoved     1", "stepsRemoved     0")
    .replace("0x21", "0xfe")
    .replace("currentUtcOffsetValid 1", "currentUtcOffsetValid 0")
    .replace("timeTraceable         1", "timeTraceable         0")
    .replace("UNCALIBRATED", "MASTER")
)
"""The same as a clock says it that follows nobody."""
