"""Dashboards as code: Python that writes `dashboards/`, and what Grafana needs to load them.

Nothing of this runs where the software runs: the JSON is committed, and `make grafana` writes it anew.
"""
