"""Throughput tests: the child process that transfers, who serves tests and who asks for them.

What the child imports (`engine`, `flow`, `tcp`, `udp`, `host`, `plan`) needs the standard library and `agent.core`
alone: it is started for each test, and has to be there at once.
"""
