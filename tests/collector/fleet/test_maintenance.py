"""Maintenance windows in the fleet file."""

from __future__ import annotations

from pathlib import Path

import pytest

from agent.runtime.exceptions import ConfigError
from agent.runtime.settings import parse
from collector.fleet.settings import FleetSettings
from collector.sla.maintenance import DAY_NS, Category, MaintenanceWindow, NoticeRule, Origin
from collector.sla.selector import Selector
from tests.support.fleets import FLEET, changed, fleet
from tests.support.maintenance import BASE_NS, HOUR_NS

WINDOWS = """\
maintenance:
  notice: 3d
  emergency: excluded
  windows:
    - id: nightly
      start: 2026-12-01T01:00:00+08:00
      duration: 2h
      rrule: FREQ=WEEKLY;BYDAY=TU
      category: planned
      approver: 李娜
      reason: 设备割接
      announced: 2026-11-01T00:00:00+08:00
      selector: {tiers: [hub], sites: [wuhan]}
    - {id: repair, start: 2026-12-05T08:00:00Z, end: 2026-12-05T09:30:00Z, category: emergency, approver: Li Na,
       reason: fibre cut, selector: {}}
"""
TEXT = FLEET + WINDOWS


def test_windows_are_read_with_their_rule() -> None:
    """Announced when the file says, or else when the collector has first read it."""
    read = fleet(TEXT).maintenance
    assert read.rule() == NoticeRule(3 * DAY_NS, emergency_excluded=True)
    nightly, repair = (one.written("fleet file", read.rule())(f"{one.id}@1", 5) for one in read.windows)
    assert nightly == MaintenanceWindow(
        id="nightly@1",
        start_ns=BASE_NS,
        end_ns=BASE_NS + 2 * HOUR_NS,
        category=Category.PLANNED,
        approver="李娜",
        reason="设备割接",
        selector=Selector(tiers=frozenset({"hub"}), sites=frozenset({"wuhan"})),
        announced_ns=BASE_NS - 30 * DAY_NS - HOUR_NS,
        created_ns=5,
        created_by="fleet file",
        origin=Origin.FILE,
        rrule="FREQ=WEEKLY;BYDAY=TU",
        rule=NoticeRule(3 * DAY_NS, emergency_excluded=True),
    )
    assert (repair.end_ns - repair.start_ns, repair.announced_ns, repair.rrule) == (3 * HOUR_NS // 2, 5, "")


def test_what_the_collector_has_not_seen_announced_is_believed_with_a_justification() -> None:
    """Where it is first read within the period of notice; else the file is taken at its word."""
    (plain, _), (justified, _) = (
        fleet(text).maintenance.windows
        for text in (TEXT, TEXT.replace("reason: 设备割接", "reason: 设备割接\n      justification: 函告"))
    )
    claimed_ns = BASE_NS - 30 * DAY_NS - HOUR_NS
    rule = NoticeRule(3 * DAY_NS)
    for read_ns, believed in (
        (BASE_NS - 3 * DAY_NS, True),
        (BASE_NS - 3 * DAY_NS + 1, False),
        (BASE_NS + HOUR_NS, False),
        (BASE_NS + 3 * DAY_NS, True),
        (BASE_NS + 5 * DAY_NS, False),
    ):
        found = plain.written("fleet file", rule)("nightly@1", read_ns)
        assert found.announced_ns == (claimed_ns if believed else read_ns)
        assert justified.written("fleet file", rule)("nightly@1", read_ns).announced_ns == claimed_ns


def test_a_file_without_maintenance_has_the_usual_rule() -> None:
    """Five days of notice, and emergencies count."""
    assert fleet().maintenance.windows == ()
    assert fleet().maintenance.rule() == NoticeRule(5 * DAY_NS, emergency_excluded=False)


@pytest.mark.parametrize(
    ("old", "new", "where", "what"),
    [
        (
            "tiers: [hub], sites",
            "tiers: [town], sites",
            "windows[0].selector.tiers[0]",
            "no tier; tiers: city,",
        ),
        (
            "sites: [wuhan]",
            "sites: [wuhan, wuhu]",
            "windows[0].selector.sites[1]",
            "wuhu is no site; sites: wuhan,",
        ),
        ("sites: [wuhan]", "sources: [wuhu]", "windows[0].selector.sources[0]", "wuhu is no site"),
        (
            "sites: [wuhan]",
            "providers: [tietong]",
            "windows[0].selector.providers[0]",
            "telecom, mobile, unicom",
        ),
        ("sites: [wuhan]", "districts: [江夏区]", "windows[0].selector.districts[0]", "districts: 洪山区"),
        ("sites: [wuhan]", "tags: [direct]", "windows[0].selector.tags[0]", "direct is no tag; tags: none"),
        ("sites: [wuhan]", "citys: [wuhan]", "windows[0].selector.citys", "unknown key"),
        ("BYDAY=TU", "BYDAY=WE", "windows[0].rrule", "first time, which is 2026-12-02T01:00:00+08:00"),
        ("FREQ=WEEKLY;BYDAY=TU", "every week", "windows[0].rrule", "such as FREQ=WEEKLY"),
        ("duration: 2h", "duration: 0s", "windows[0].duration", "more than 0"),
        ("duration: 2h", "duration: 2", "windows[0].duration", "no unit"),
        ("      duration: 2h\n", "", "windows[0]", "one of end and duration"),
        ("T09:30:00Z, ", "T09:30:00Z, duration: 1h, ", "windows[1]", "one of end and duration"),
        ("T09:30:00Z", "T08:00:00Z", "windows[1].end", "must end after its start"),
        ("T09:30:00Z", "T09:30:00", "windows[1].end", "a time with its offset such as"),
        ("category: emergency", "category: urgent", "windows[1].category", "planned, emergency"),
        ("approver: Li Na", "approver: ''", "windows[1].approver", "one line of text"),
        ("approver: Li Na", 'approver: "Li\\nNa"', "windows[1].approver", "one line of text"),
        (",\n       reason: fibre cut", "", "windows[1].reason", "is missing"),
        (", selector: {}", "", "windows[1].selector", "is missing"),
        ("id: repair", "id: nightly", "windows[1].id", "nightly is already windows[0]"),
        ("id: repair", "id: re@pair", "windows[1].id", ""),
        ("notice: 3d", "notice: 3", "notice", "no unit"),
        ("emergency: excluded", "emergency: dropped", "emergency", "counted, excluded"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(old: str, new: str, where: str, what: str) -> None:
    """File, line and key path, and what would be accepted."""
    assert TEXT.count(old) == 1
    with pytest.raises(ConfigError) as refused:
        fleet(TEXT.replace(old, new))
    (problem,) = refused.value.problems
    assert problem.key == f"maintenance.{where}"
    assert problem.line > len(FLEET.splitlines())
    assert what in problem.message


def test_mistakes_elsewhere_hide_nothing() -> None:
    """What does not need the value that could not be read is checked all the same."""
    text = (
        TEXT.replace("lat: 30.59", "lat: 99")
        .replace("BYDAY=TU", "BYDAY=WE")
        .replace("end: 2026", "end: 1026")
    )
    with pytest.raises(ConfigError) as refused:
        fleet(text)
    assert {problem.key for problem in refused.value.problems} == {
        "sites[0].lat",
        "maintenance.windows[0].rrule",
        "maintenance.windows[1].end",
    }


def test_a_window_that_was_announced_too_late_is_warned_of() -> None:
    """Unless it is an emergency and those are excluded; what was not announced yet is not known to be late."""
    late = TEXT.replace("2026-11-01T00", "2026-11-29T00")
    (warning,) = fleet(late).warnings()
    assert warning == "maintenance nightly: announced less than 3d before its start: what it holds counts"
    assert list(fleet(late.replace("category: planned", "category: emergency")).warnings()) == []
    assert list(fleet(TEXT).warnings()) == []


def test_paths_have_the_districts_and_tags_of_both_ends() -> None:
    """And their own."""
    text = changed("district: 洪山区,", "district: 洪山区, tags: [campus, direct-link],")
    text = text.replace("tier: loop, fibre_km: 30", "tier: loop, fibre_km: 30, tags: [backbone]")
    read = fleet(text)
    found = {(path.source, path.target): read.facts(path) for path in read.paths}
    assert found["wuhan", "qingyang"].tags == {"campus", "direct-link"}
    assert found["guanggu", "wuhan"].tags == {"campus", "direct-link", "backbone"}
    assert found["guanggu", "wuhan"].districts == {"洪山区"}
    assert found["guanggu", "wuhan"].sites == {"guanggu", "wuhan"}
    assert found["wuhan", "qingyang"].key.provider == "unicom"
    tagged = text + WINDOWS.replace("sites: [wuhan]", "tags: [backbone, campus]")
    assert len(fleet(tagged).maintenance.windows) == 2


def test_the_token_of_writers_stands_in_a_file_of_its_own(tmp_path: Path) -> None:
    """One that others can read is refused, and none at all means that nobody writes."""
    assert fleet().token(tmp_path) is None
    text = FLEET + "api: {token_file: token}\n"
    with pytest.raises(ConfigError, match=r"api\.token_file: .*cannot be read"):
        parse(text, FleetSettings, "fleet.yaml", tmp_path)
    file = tmp_path / "token"
    file.write_text("a-token-of-the-tests-0123456789\n", encoding="ascii")
    file.chmod(0o644)
    with pytest.raises(ConfigError, match=r"api\.token_file: .*others have access"):
        parse(text, FleetSettings, "fleet.yaml", tmp_path)
    file.chmod(0o600)
    assert (
        parse(text, FleetSettings, "fleet.yaml", tmp_path).token(tmp_path)
        == "a-token-of-the-tests-0123456789"
    )
