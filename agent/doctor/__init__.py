"""`isochrone-agent doctor`: whether this host can measure what the configuration asks, found out without disturbing an
agent that runs. Facts, how they are gathered, and how they are judged (pure), a module for each thing.
"""
