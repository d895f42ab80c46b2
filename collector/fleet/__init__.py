"""The fleet file: who is where, who probes whom, and what is promised; compiled into what agents and verdicts need."""
