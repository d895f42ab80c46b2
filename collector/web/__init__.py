"""What the collector answers when asked: the page, the API, its metrics, and the discovery of agents for Prometheus.

Everything here reads the state that the collector holds in memory; nothing here changes it, waits for an agent, or
touches the store.
"""
