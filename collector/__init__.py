"""The Isochrone collector: reads what agents counted, judges it against the plan, and tells people.

Data flows one way: `sources` → `store` → `sla` (pure) → `alerts` and `web`. From the agent it takes only `agent.core`
and `agent.runtime`.
"""
