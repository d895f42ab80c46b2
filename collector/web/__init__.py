"""What the collector answers when asked: the page, the API, its metrics, and the discovery of agents for Prometheus.

What is shown is the state that the collector holds in memory; nothing here waits for an agent. Maintenance windows
alone are written, by who has the token, and their audit alone is read from the store.
"""
