"""`isochrone-collector doctor`: whether the collector gets what it judges, keeps it, and reaches whom it tells; found
out without disturbing one that runs, and without a message to anybody. Facts, how they are gathered, and how they are
judged (pure), a module for each thing.
"""
