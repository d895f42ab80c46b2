"""The names and labels that leave the process: written once, for the one who produces and the one who consumes.

Seconds and ratios; the words are those of RFC 2681, 7679, 7680, 5481 and 8762.
"""

from __future__ import annotations

from typing import Final

PATH_LABELS: Final = ("source", "target", "tier", "provider", "kind", "dscp")
"""What names a path; every per-path metric carries all of them."""

LINE_KIND: Final = "throughput"
"""The label `kind` of a line whose throughput is tested."""

PROBE_SENT: Final = "isochrone_probe_sent_total"
PROBE_NOT_SENT: Final = "isochrone_probe_not_sent_total"  # reason
PROBE_OUTCOMES: Final = "isochrone_probe_outcomes_total"  # direction, outcome
PROBE_UNDER_LOAD: Final = "isochrone_probe_under_load_total"  # direction, outcome
"""Probes sent while a throughput test filled the line: in the law, and in no other count of outcomes or delays."""

PROBE_IN_FLIGHT: Final = "isochrone_probe_in_flight"
PROBE_LATE: Final = "isochrone_probe_late_total"
LOSS_THRESHOLD: Final = "isochrone_loss_threshold_seconds"
PROBE_INTERVAL: Final = "isochrone_probe_interval_seconds"
"""From probe to probe, in the mean: what tells how many packets a time should have had."""

PROBE_DUPLICATES: Final = "isochrone_probe_duplicates_total"  # direction
PROBE_REORDERED: Final = "isochrone_probe_reordered_total"  # direction
PROBE_REMARKED: Final = "isochrone_probe_remarked_total"  # direction, marking
DELAY: Final = "isochrone_delay_seconds"  # direction
DELAY_MIN: Final = "isochrone_delay_min_seconds"  # direction
DELAY_VARIATION: Final = "isochrone_delay_variation_seconds"  # direction
INTERPACKET_DELAY_VARIATION: Final = "isochrone_interpacket_delay_variation_seconds"  # direction
DELAY_LIMIT: Final = "isochrone_delay_limit_seconds"  # direction, operator
DELAY_FLOOR: Final = "isochrone_delay_floor_seconds"  # direction
CLOCK_CONTRADICTIONS: Final = "isochrone_clock_contradictions_total"
FLOOR_CONTRADICTIONS: Final = "isochrone_floor_contradictions_total"
CLOCK_STEPPED_REPLIES: Final = "isochrone_clock_stepped_replies_total"
TARGET_RESOLVED: Final = "isochrone_target_resolved"
PATH_START: Final = "isochrone_path_start_time_seconds"
"""When a path's counters were last zero, by the agent's clock: another one where a reload has opened the path anew."""

ROUTE_INFO: Final = "isochrone_route_info"  # fingerprint
ROUTE_CHANGES: Final = "isochrone_route_changes_total"
ROUTE_HOPS: Final = "isochrone_route_hops"
ROUTE_TRACES: Final = "isochrone_route_traces_total"  # result

THROUGHPUT: Final = "isochrone_throughput_bits_per_second"  # direction (down, up), layer (ip, goodput)
THROUGHPUT_FLOOR: Final = "isochrone_throughput_floor_bits_per_second"  # direction, layer
THROUGHPUT_LIMITED_BY: Final = "isochrone_throughput_limited_by"  # direction, cause
"""1 for the cause that bounded the last test, 0 for the others."""
THROUGHPUT_TESTS: Final = (
    # direction, result (pass, fail, unconfirmed, inconclusive, spoiled, error, measured)
    "isochrone_throughput_tests_total"
)
THROUGHPUT_ERRORS: Final = "isochrone_throughput_errors_total"  # direction, reason
THROUGHPUT_UNTESTED: Final = "isochrone_throughput_untested_slots_total"  # reason (users_traffic, late)
THROUGHPUT_LAST_TEST: Final = "isochrone_throughput_last_test_time_seconds"
"""When the last test ended that has measured something, by the agent's clock: a failed one is never a rate of 0."""
THROUGHPUT_REQUESTS: Final = "isochrone_throughput_server_requests_total"  # result
THROUGHPUT_SOCKETS: Final = "isochrone_throughput_server_sockets_total"  # result
THROUGHPUT_LEASES: Final = "isochrone_throughput_server_leases_total"  # state (released, expired)
THROUGHPUT_RUNNING: Final = "isochrone_throughput_server_leases_running"

CLOCK_ERROR_BOUND: Final = "isochrone_clock_error_bound_seconds"  # clock_source
CLOCK_SYNCHRONIZED: Final = "isochrone_clock_synchronized"  # clock_source
CLOCK_STEPS: Final = "isochrone_clock_steps_total"
TIMESTAMPING_INFO: Final = "isochrone_timestamping_info"  # transmit, receive
SEND_LAG: Final = "isochrone_send_lag_seconds"
REFLECTOR_PACKETS: Final = "isochrone_reflector_packets_total"  # result
REFLECTED: Final = "reflected"
"""The result of those that were sent back."""

SENDER_REPLIES: Final = "isochrone_sender_discarded_replies_total"  # kind, reason
FOLLOW_UPS: Final = "isochrone_follow_up_replies_total"  # result
HTTP_CLOSED: Final = "isochrone_http_closed_connections_total"  # reason
PLAN_INFO: Final = "isochrone_plan_info"  # version
BUILD_INFO: Final = "isochrone_build_info"  # version, python
PROCESS_START: Final = "process_start_time_seconds"
"""When the counters were last zero: a change of it, not a falling counter, is what tells of a restart."""

SLA_VERDICT: Final = "isochrone_sla_verdict"
SLA_VIOLATION_RATIO: Final = "isochrone_sla_violation_ratio"  # bound
SLA_COVERAGE: Final = "isochrone_sla_coverage_ratio"
SLA_ERROR_BUDGET: Final = "isochrone_sla_error_budget_remaining_ratio"
SLA_BURN_RATE: Final = "isochrone_sla_burn_rate"  # window
SLA_BREACH_OPEN: Final = "isochrone_sla_breach_open"
FAULTS: Final = "isochrone_faults"  # kind
NOTIFICATIONS: Final = "isochrone_notifications_total"  # channel, result
EVALUATION_DURATION: Final = "isochrone_evaluation_duration_seconds"
SOURCE_UP: Final = "isochrone_source_up"
