"""The collector's memory: the ledger, breaches and what is still to be told; an SQLite file or a PostgreSQL server."""
