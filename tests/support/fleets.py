"""Fleet files for tests."""

from __future__ import annotations

from agent.runtime.settings import parse
from collector.fleet.settings import FleetSettings

FLEET = """\
listen: 127.0.0.1:9460
source: {kind: agents, interval: 10s}
reflector_allow: ["::1", 192.0.2.0/24]
sites:
  - {id: wuhan, name: {zh: 武汉, en: Wuhan}, lat: 30.59, lon: 114.31, provider: telecom, district: 洪山区,
     agent: "127.0.0.1:9461", reflector: 127.0.0.1, clock: {source: declared, error_bound: 50us}}
  - {id: guanggu, name: {zh: 光谷, en: Optics Valley}, lat: 30.49, lon: 114.42, provider: telecom,
     agent: "127.0.0.1:9462", reflector: "[::1]:8621"}
  - {id: qingyang, name: {zh: 庆阳, en: Qingyang}, lat: 35.73, lon: 107.64, provider: mobile,
     reflector: "127.0.0.1:8623"}
tiers:
  city: {name: {zh: 市内, en: In the city}, limit: "< 1ms"}
  hub: {name: {zh: 枢纽, en: Hubs}, limit: "<= 10ms", direction: one_way}
  loop: {name: {zh: 往返, en: Round trips}, limit: "< 10ms", direction: round_trip}
paths:
  - {source: wuhan, target: guanggu, tier: city}
  - {source: wuhan, target: qingyang, tier: hub, interval: 50ms, timeout: 2s, dscp: 46, provider: unicom,
     address: "127.0.0.1:8613"}
  - {source: guanggu, target: wuhan, tier: loop, fibre_km: 30}
objectives:
  - {id: detection, percentile: 99.9, window: 5m, open_after: 2, close_after: 4}
  - {id: hourly, percentile: 99, window: 1h, tiers: [hub], min_coverage: 0.9}
"""


def fleet(text: str = FLEET) -> FleetSettings:
    """A fleet file's settings."""
    return parse(text, FleetSettings, "fleet.yaml")


def changed(old: str, new: str) -> str:
    """The fleet file with one change."""
    assert FLEET.count(old) == 1, f"{FLEET.count(old)} times: {old}"
    return FLEET.replace(old, new)


PILOTS = """\
listen: 127.0.0.1:9460
sites:
  - {id: home, name: {zh: 家, en: Home}, lat: 30.59, lon: 114.31, agent: "192.0.2.1:9461",
     throughput: {token_file: throughput.token}}
  - {id: flat, name: {zh: 公寓, en: Flat}, lat: 30.59, lon: 114.31, agent: "192.0.2.2:9461",
     throughput: {token_file: throughput.token}}
  - {id: centre, name: {zh: 中心, en: Centre}, lat: 30.49, lon: 114.42, provider: telecom, agent: "192.0.2.9:9461",
     throughput: {token_file: /etc/throughput.token, listen: 192.0.2.9}}
tiers:
  city: {name: {zh: 市内, en: In the city}, limit: "< 1ms"}
throughput:
  tiers: {pilot: {name: {zh: 万兆试点, en: 10G pilot}, floors: {down: 9.7G, up: 970M}}}
  segments: {pon: {name: {zh: 光分配网, en: PON tree}, per_day: 200GB}}
  quiet_hours: ["19:00-23:00"]
  pilots:
    - {source: home, target: centre, tier: pilot, segments: [pon]}
    - {source: flat, target: centre, tier: pilot, segments: [pon], direction: down, every: 2d, longest: 5s}
"""


def pilots(text: str = PILOTS) -> FleetSettings:
    """The settings of a fleet file with lines whose throughput is tested."""
    return parse(text, FleetSettings, "fleet.yaml")
