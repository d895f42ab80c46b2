"""The collector's memory: readings, blocks, breaches and what is still to be told, in one SQLite file."""
