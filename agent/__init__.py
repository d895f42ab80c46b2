"""The Isochrone agent: probes, reflector and the metrics that come of them.

The layers, from the inside out: `core` (pure), `runtime` (the shell shared with the collector), `net`
(sockets and clocks), then `probes` and `reflector`. Nothing here may import the collector.
"""

__version__ = "0.1.0"
