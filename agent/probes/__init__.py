"""The probe kinds: each turns a schedule and a socket into events for the pure sessions of `agent.core`."""
