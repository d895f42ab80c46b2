"""Kernel-timestamped sockets, timers and the quality of the local clock. Linux only; no protocol lives here."""
