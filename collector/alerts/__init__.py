"""What leaves the collector unasked: alerts to Alertmanager, announcements to webhooks.

Two kinds, because the receivers want different things. An Alertmanager wants *state*, told again and again: it is sent
from the breaches as they stand. A webhook wants each *event* once: events go through an outbox whose rows are written
in the transaction that changes the breach, and are delivered from there until the receiver takes them. Nothing here
judges, and nothing here is waited for by an evaluation.
"""
