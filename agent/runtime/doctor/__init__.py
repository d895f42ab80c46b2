"""What `doctor` of both programs has in common: diagnoses, how they are shown, and what both look at.

Each module that looks at something has facts (a value), how they are gathered (files, sockets, a deadline; nothing is
changed by it), and how they are judged (pure: facts in, diagnoses out). What only one of the programs looks at is in
`agent.doctor` and `collector.doctor`.
"""
