"""The page in a real Chromium: what a person on duty sees, in both languages, on a wall and on a phone."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from time import time_ns
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Page, async_playwright, expect

from agent.core.outcome import Direction, Operator
from collector.sla.fault_watch import Standing
from collector.sla.names import Name
from collector.sla.verdict import Judgement, PathKey, Reason, Verdict
from collector.web import api
from tests.support.collector_web import serving
from tests.support.processes import free_port
from tests.support.requirements import require_binary
from tests.support.verdicts import (
    CUT_OFF,
    HUB_PATH,
    SECOND_NS,
    Source,
    State,
    breach,
    closed,
    fleet,
    judgement,
    line_judgement,
)

pytestmark = pytest.mark.asyncio(loop_scope="module")

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)
CITY_PATH = PathKey("wuhan", "optics", "city", "mobile", "stamp", 0)
PROVINCE_PATH = PathKey("wuhan", "yichang", "province", "unicom", "stamp", 46)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """One Chromium for all tests of this module."""
    executable = require_binary("chromium")
    async with async_playwright() as playwright:
        launched = await playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS))
        yield launched
        await launched.close()


def mixed() -> State:
    """Each verdict at least once; a breach open, one closed; a clock of every kind."""
    now_ns = time_ns()
    return State(
        judgements=[
            judgement(Verdict.PASS, HUB_PATH, Direction.REVERSE),
            judgement(
                Verdict.PASS,
                CITY_PATH,
                limit_ms=1,
                operator=Operator.BELOW,
                floor_ms=0.098,
                delay_ms=(0.4, 0.5),
            ),
            judgement(Verdict.NO_DATA, CITY_PATH, Direction.REVERSE, limit_ms=1, operator=Operator.BELOW),
            judgement(Verdict.INDETERMINATE, PROVINCE_PATH, limit_ms=3, operator=Operator.BELOW),
            judgement(Verdict.FAIL, HUB_PATH, delay_ms=(10, 15)),
        ],
        breaches=[
            breach(1, opened_ns=now_ns - 200 * SECOND_NS),
            closed(breach(2, path=CITY_PATH, opened_ns=now_ns - 900 * SECOND_NS), now_ns - 600 * SECOND_NS),
        ],
        sources={
            "wuhan": Source(),
            "optics": Source(clock_source="adjtimex", clock_bound_ns=310_000),
            "yichang": Source(clock_source="unsynchronised", clock_bound_ns=None),
        },
        evaluated_ns=now_ns,
    )


@contextlib.asynccontextmanager
async def opened(
    browser: Browser, url: str, path: str = "/", *, width: int = 1440, dark: bool = False
) -> AsyncIterator[Page]:
    """A fresh visitor on the page; whatever the page complains of fails the test."""
    context: BrowserContext = await browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light"
    )
    page = await context.new_page()
    complaints: list[str] = []
    strangers: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: strangers.append(request.url))
    page.on(
        "console",
        # A collector that does not answer is reported by the browser itself, which is no fault of the page.
        lambda message: (
            complaints.append(message.text)
            if message.type == "error" and "ERR_CONNECTION" not in message.text
            else None
        ),
    )
    try:
        await page.goto(url + path)
        yield page
    finally:
        await context.close()
    assert complaints == []
    host = urlsplit(url).netloc
    assert {urlsplit(asked).netloc for asked in strangers} == {host}


@contextlib.asynccontextmanager
async def shown(
    browser: Browser, state: State, path: str = "/", *, width: int = 1440, dark: bool = False
) -> AsyncIterator[Page]:
    """The page of a collector in this state."""
    async with serving(state) as url, opened(browser, url, path, width=width, dark=dark) as page:
        yield page


async def texts(page: Page, selector: str) -> list[str]:
    """What stands in the elements, in their order."""
    return [re.sub(r"\s+", " ", text).strip() for text in await page.locator(selector).all_inner_texts()]


async def test_chinese_is_the_default_and_the_worst_comes_first(browser: Browser) -> None:
    """Every verdict is told by a word and a sign, not by colour alone."""
    async with shown(browser, mixed()) as page:
        await expect(page.locator("#rows tr")).to_have_count(5)
        assert await page.get_attribute("html", "lang") == "zh-CN"
        assert await texts(page, "#rows .verdict") == [
            "✕ 不达标",
            "? 无法判定",
            "○ 无数据",
            "✓ 达标",
            "✓ 达标",
        ]


async def test_a_row_says_everything_that_decides(browser: Browser) -> None:
    """Names, direction, limit with its operator, floor, percentile buckets, shares, packets, coverage, reason."""
    async with shown(browser, mixed(), "/?lang=en") as page:
        await expect(page.locator("#rows tr")).to_have_count(5)
        row = (await texts(page, "#rows tr"))[0]
        for part in (
            "Fail",
            "Wuhan → Qingyang",
            "Hubs · telecom · stamp",
            "→ forward",
            "≤ 10 ms",
            "P99.9 over 5 min",
            "physical floor 4.13 ms",
            "P50 10–15 ms",
            "within 2.03%",
            "over 97.37%",
            "lost 0.5%",
            "lost, direction unknown 0.1%",
            "3,000 packets · coverage 100%",
            "at least 96.9 % of 3,000 packets",
        ):
            assert part in row
        assert "uncertain" not in row
        nothing = (await texts(page, "#rows tr"))[2]
        assert "P50 not measured" in nothing
        assert "no packets · coverage 20%" in nothing


async def test_a_share_that_is_small_is_neither_nothing_nor_invisible(browser: Browser) -> None:
    """One packet in three thousand has a number and a visible part of the bar."""
    async with shown(browser, State([judgement()], evaluated_ns=time_ns())) as page:
        uncertain = page.locator("#rows .bar .uncertain")
        await expect(uncertain).to_be_visible()
        box = await uncertain.bounding_box()
        assert box is not None
        assert box["width"] >= 3
        assert "不确定 0.03%" in (await texts(page, "#rows .shares"))[0]


async def test_the_language_is_switched_by_a_link_and_remembered(browser: Browser) -> None:
    """The link keeps the filter; the next visit without a language in its address is in the chosen one."""
    async with serving(mixed()) as url, opened(browser, url, "/?verdict=FAIL") as page:
        await page.click("#language")
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        await expect(page.locator("#rows tr")).to_have_count(1)
        assert "verdict=FAIL" in page.url
        await page.goto(url)
        await expect(page.locator("html")).to_have_attribute("lang", "en")
        assert (await texts(page, "h1"))[0].startswith("Isochrone")


async def test_an_open_breach_stands_on_top_with_its_reason_and_since_when(browser: Browser) -> None:
    """In Beijing time with its offset; the title of the tab counts it."""
    async with shown(browser, mixed()) as page:
        await expect(page.locator("#open-list .breach")).to_have_count(1)
        (told,) = await texts(page, "#open-list .breach")
        assert "武汉 → 庆阳 去程" in told
        assert re.search(r"始于 \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \+08:00 · 已持续 3 分钟", told)
        assert "超过允许的 0.1%" in told
        assert "当前结论 ✕ 不达标" in told
        assert await page.title() == "(1) 时延圈 Isochrone"
        box, table = (
            await page.locator("#open").bounding_box(),
            await page.locator("#table").bounding_box(),
        )
        assert box is not None
        assert table is not None
        assert box["y"] < table["y"]
        assert await texts(page, "#closed-title") == ["最近恢复的违约（1）"]


async def test_a_breach_that_closes_is_announced_once_and_moves_down(browser: Browser) -> None:
    """Without a reload; a screen reader is told politely."""
    state = mixed()
    async with shown(browser, state) as page:
        await expect(page.locator("#open-list .breach")).to_have_count(1)
        assert await page.inner_text("#announcer") == ""
        now_ns = time_ns()
        state.breaches = [closed(state.breaches[0], now_ns), state.breaches[1]]
        state.judgements = [replace(one) for one in state.judgements]
        state.evaluations += 1
        state.evaluated_ns = now_ns
        await expect(page.locator("#announcer")).to_have_text("已恢复：武汉 → 庆阳 去程")
        await expect(page.locator("#open-list .breach")).to_have_count(0)
        await expect(page.locator("#open-title")).to_have_text("没有未恢复的违约")
        await expect(page.locator("#closed-list .breach")).to_have_count(2)
        assert await page.get_attribute("#announcer", "aria-live") == "polite"


async def test_the_link_of_an_alert_leads_to_its_breach(browser: Browser) -> None:
    """Marked and in sight, even among many."""
    state = mixed()
    now_ns = time_ns()
    state.breaches = [
        breach(number, path=replace(HUB_PATH, target=f"t{number}"), opened_ns=now_ns - number * SECOND_NS)
        for number in range(1, 31)
    ]
    async with shown(browser, state, "/#breach-b000030") as page:
        wanted = page.locator("#breach-b000030")
        await expect(wanted).to_have_class(re.compile("wanted"))
        await expect(wanted).to_be_in_viewport()


async def test_filters_narrow_the_table_and_stand_in_the_address(browser: Browser) -> None:
    """By verdict, by tier, by words; together; and the counts follow."""
    async with shown(browser, mixed(), "/?lang=en") as page:
        await expect(page.locator("#rows tr")).to_have_count(5)
        await page.click(".choice[data-verdict=PASS]")
        await expect(page.locator("#rows tr")).to_have_count(2)
        await page.select_option("#tier-filter", "city")
        await expect(page.locator("#rows tr")).to_have_count(1)
        assert await texts(page, "#shown") == ["1 of 5 verdicts"]
        assert "verdict=PASS" in page.url
        assert "tier=city" in page.url
        await page.click(".choice[data-verdict='']")
        await expect(page.locator("#rows tr")).to_have_count(2)
        await page.select_option("#tier-filter", "")
        await page.fill("#search", "yichang UNICOM")
        await expect(page.locator("#rows tr")).to_have_count(1)
        await page.fill("#search", "nowhere")
        await expect(page.locator("#empty")).to_have_text("No verdict matches the filter")
        await page.reload()
        await expect(page.locator("#search")).to_have_value("nowhere")


async def test_of_very_many_verdicts_it_is_said_how_many_are_not_listed(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that most need attention are, and the total stands beside them."""
    monkeypatch.setattr(api, "_MOST_VERDICTS", 3)
    async with shown(browser, mixed()) as page:
        await expect(page.locator("#rows tr")).to_have_count(3)
        assert await texts(page, "#shown") == ["3 条；共 5 条，此处只列出最需关注的 3 条"]
        await page.goto(page.url.split("?")[0] + "?lang=en")
        await expect(page.locator("#shown")).to_have_text(
            "3 verdicts; there are 5, of which the 3 that most need attention are listed"
        )


async def test_the_evidence_is_one_key_press_away(browser: Browser) -> None:
    """Keyboard alone: bounds against what is allowed, counts, window, how the clocks are vouched for."""
    async with shown(browser, mixed(), "/?lang=en") as page:
        await expect(page.locator("#rows tr")).to_have_count(5)
        await page.locator("#rows .more").first.focus()
        await page.keyboard.press("Enter")
        await expect(page.locator("#rows .evidence")).to_have_count(1)
        (told,) = await texts(page, "#rows .evidence")
        assert "lower 96.87%, upper 98.02%; allowed 0.1%" in told
        assert "within 61, over 2,921, uncertain 0, lost 15" in told
        assert "Wuhan declared by the operator, ±50 µs" in told
        assert "Qingyang no agent" in told
        assert "lower_bound_exceeds" in told
        assert await page.locator("#rows .more").first.get_attribute("aria-expanded") == "true"
        await page.keyboard.press("Enter")
        await expect(page.locator("#rows .evidence")).to_have_count(0)


async def test_open_evidence_and_focus_survive_the_next_evaluation(browser: Browser) -> None:
    """A row that is read does not close under the reader's eyes, even when rows change places."""
    state = mixed()
    async with shown(browser, state) as page:
        await expect(page.locator("#rows tr")).to_have_count(5)
        more = page.locator("#rows tr", has_text="宜昌").locator(".more")
        await more.focus()
        await page.keyboard.press("Enter")
        state.judgements = [
            judgement(Verdict.FAIL, one.path, one.direction) if one.path == CITY_PATH else one
            for one in state.judgements
        ]
        state.evaluations += 1
        state.evaluated_ns = time_ns()
        await expect(page.locator("#rows tr[data-verdict=FAIL]")).to_have_count(3)
        await expect(page.locator("#rows .evidence")).to_have_count(1)
        assert await page.evaluate("document.activeElement.className") == "more"


async def test_a_clock_that_proves_nothing_is_said_where_it_matters(browser: Browser) -> None:
    """On top, in the row, and in the list of sites; a declared bound is called declared."""
    async with shown(browser, mixed()) as page:
        await expect(page.locator("#notices .notice")).to_contain_text("1 个站点的时钟未同步：宜昌")
        tagged = page.locator("#rows tr", has=page.locator(".clock-tag:visible"))
        await expect(tagged).to_have_count(1)
        await expect(tagged).to_contain_text("时钟未同步：宜昌")
        await expect(page.locator("#sites-title")).to_contain_text("人工声明 1 个（误差至多 ±50 µs）")
        await page.click("#sites-title")
        sites = await texts(page, "#sites-list li")
        assert "时钟：人工声明，误差 ±50 µs" in sites[0]
        assert "时钟：内核校时，误差 ±310 µs" in sites[1]
        assert "时钟：未同步" in sites[2]
        assert "没有代理" in sites[3]


async def test_an_agent_that_cannot_be_read_is_named_with_the_reason(browser: Browser) -> None:
    """No data is said aloud."""
    state = mixed()
    state.sources = {"wuhan": Source(up=False, reason="connection refused")}
    async with shown(browser, state, "/?lang=en") as page:
        notice = page.locator("#notices .notice")
        await expect(notice).to_contain_text("1 agent cannot be read: Wuhan (connection refused)")


async def test_a_fault_is_said_once_on_top_and_at_each_of_its_breaches(browser: Browser) -> None:
    """And its site is not named a second time as one that cannot be read."""
    state = mixed()
    state.sources = {"qingyang": Source(up=False, reason="timed out")}
    state.standing = Standing([CUT_OFF])
    state.breaches = [breach(1, fault=CUT_OFF), breach(2, direction=Direction.REVERSE, fault=CUT_OFF)]
    async with shown(browser, state, "/?lang=en") as page:
        notices = page.locator("#notices .notice")
        await expect(notices).to_have_count(1)
        await expect(notices).to_contain_text(
            "site cut off: Qingyang (no path between it and 2 sites is answered)"
        )
        await expect(notices).to_contain_text("paths concerned: 4")
        parts = page.locator("#open-list .fault")
        await expect(parts).to_have_count(2)
        await expect(parts.first).to_contain_text("Part of: site cut off: Qingyang")


async def test_an_evaluation_that_does_not_advance_is_called_stale(browser: Browser) -> None:
    """The collector answers, but what it says is old."""
    state = mixed()
    state.evaluated_ns = time_ns() - 90 * SECOND_NS
    async with shown(browser, state) as page:
        await expect(page.locator("#status")).to_have_attribute("data-state", "stale")
        await expect(page.locator("#status-text")).to_contain_text("数据陈旧")
        await expect(page.locator("#alarms .notice")).to_contain_text("评估没有推进")
        state.evaluated_ns = time_ns()
        state.evaluations += 1
        await expect(page.locator("#status")).to_have_attribute("data-state", "live")
        await expect(page.locator("#alarms .notice")).to_have_count(0)


async def test_a_collector_that_is_gone_is_said_and_its_return_is_noticed(browser: Browser) -> None:
    """The last data stays, marked as such; nobody has to reload."""
    port = free_port()
    state = mixed()
    async with serving(state, port=port) as url:
        context = await browser.new_context()
        page = await context.new_page()
        await page.goto(url)
        await expect(page.locator("#rows tr")).to_have_count(5)
    try:
        await expect(page.locator("#status")).to_have_attribute("data-state", "gone", timeout=15_000)
        await expect(page.locator("#alarms .notice")).to_contain_text("采集端无应答")
        await expect(page.locator("#rows tr")).to_have_count(5)
        state.evaluated_ns = time_ns()
        state.evaluations += 1
        async with serving(state, port=port):
            await expect(page.locator("#status")).to_have_attribute("data-state", "live", timeout=15_000)
    finally:
        await context.close()


async def test_before_the_first_evaluation_the_page_says_so(browser: Browser) -> None:
    """An empty table would read as if all were well."""
    async with shown(browser, State(evaluated_ns=None, evaluations=0)) as page:
        await expect(page.locator("#empty")).to_have_text("采集端已启动，尚未完成首次评估")
        await expect(page.locator("#open")).to_be_hidden()


async def test_nothing_from_the_network_is_run_as_markup(browser: Browser) -> None:
    """Names, reasons and labels may hold anything; they are shown as they are."""
    evil = '<img src=x onerror="document.title=\'owned\'"><script>document.title="owned"</script>'
    path = replace(HUB_PATH, source=evil, target=evil, provider=evil, kind=evil)
    one = judgement(Verdict.FAIL, path, reason=Reason(evil, evil, evil))
    standing = replace(breach(1, path=path, opened_ns=time_ns()), opening=one)
    state = State([one], [standing], {"wuhan": Source(up=False, reason=evil)}, time_ns())
    hostile = fleet()
    hostile = replace(
        hostile, sites=[replace(site, name=Name(evil, evil), district=evil) for site in hostile.sites]
    )
    async with serving(state, shown=hostile) as url, opened(browser, url) as page:
        await expect(page.locator("#rows tr")).to_have_count(1)
        await page.click("#sites-title")
        await page.click("#rows .more")
        await expect(page.locator("#sites-list li")).to_have_count(4)
        assert evil in await page.inner_text("#rows")
        assert await page.title() == "(1) 时延圈 Isochrone"
        assert await page.locator("main img, main script").count() == 0


def thousand() -> Sequence[Judgement]:
    """A thousand judgements, thirty of which fail."""
    return [
        judgement(
            Verdict.FAIL if number < 15 else Verdict.PASS,
            replace(HUB_PATH, target=f"site-{number:03}"),
            direction,
        )
        for number in range(500)
        for direction in (Direction.FORWARD, Direction.REVERSE)
    ]


async def test_a_thousand_rows_are_no_burden(browser: Browser) -> None:
    """The worst two hundred at once, all on demand, and the search looks through all of them."""
    async with shown(browser, State(thousand(), evaluated_ns=time_ns()), "/?lang=en") as page:
        await expect(page.locator("#rows tr")).to_have_count(200)
        await expect(page.locator("#rows tr[data-verdict=FAIL]")).to_have_count(30)
        assert await texts(page, "#shown") == ["1,000 verdicts"]
        await page.fill("#search", "site-499")
        await expect(page.locator("#rows tr")).to_have_count(2)
        await page.fill("#search", "")
        await page.click("#rows-more")
        await expect(page.locator("#rows tr")).to_have_count(1000)
        took_ms = await page.evaluate(
            """() => { const start = performance.now();
                       document.querySelector(".choice[data-verdict=FAIL]").click();
                       document.body.getBoundingClientRect();
                       return performance.now() - start; }"""
        )
        await expect(page.locator("#rows tr")).to_have_count(30)
        assert took_ms < 1000


@pytest.mark.parametrize("language", ["zh", "en"])
@pytest.mark.parametrize("width", [360, 768, 1024, 1200, 1440, 1920])
async def test_it_fits_every_screen(width: int, language: str, browser: Browser) -> None:
    """Nothing has to be scrolled sideways, from a phone to a wall."""
    async with shown(browser, mixed(), f"/?lang={language}", width=width) as page:
        await expect(page.locator("#rows tr")).to_have_count(5)
        await page.locator("#rows .more").first.click()
        assert await page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [360, 1280])
async def test_a_long_name_stays_in_its_column(width: int, browser: Browser) -> None:
    """A site may be called what it is called in full: its name is wrapped, and covers nothing beside it."""
    full = "Wuhan National Supercomputing Centre, Optics Valley Campus, Hall B"
    wide = fleet()
    wide = replace(wide, sites=[replace(site, name=Name(full, full)) for site in wide.sites])
    async with serving(mixed(), shown=wide) as url, opened(browser, f"{url}/?lang=en", width=width) as page:
        await expect(page.locator("#rows tr")).to_have_count(5)
        assert await page.evaluate("document.documentElement.scrollWidth") <= width
        assert await page.evaluate(
            """() => [...document.querySelectorAll(".path")].every((path) => {
                       const right = path.closest("td").getBoundingClientRect().right;
                       return [...path.children].every((name) => name.getBoundingClientRect().right <= right);
                     })"""
        )


CONTRAST = """() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (color) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = color; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data]; };
  const light = (color) => { const [r, g, b] = rgb(color).map((v) => { v /= 255;
    return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
  const ground = (node) => { for (; node; node = node.parentElement) {
    const color = getComputedStyle(node).backgroundColor; if (rgb(color)[3] === 255) return color; } return "white"; };
  const found = [];
  for (const node of document.querySelectorAll("body *")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.getClientRects().length) continue;
    const [a, b] = [light(getComputedStyle(node).color), light(ground(node))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) found.push(`${node.className || node.tagName} ${node.textContent.trim()}: ${ratio.toFixed(2)}`);
  }
  return found;
}"""


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
async def test_every_word_can_be_read(dark: bool, browser: Browser) -> None:
    """Contrast of 4.5 or more (WCAG 2.1, AA) for all text, in both colour schemes."""
    async with shown(browser, mixed(), dark=dark) as page:
        await expect(page.locator("#rows tr")).to_have_count(5)
        await page.locator("#rows .more").first.click()
        await page.click("#closed-title")
        await page.click("#sites-title")
        await expect(page.locator("#sites-list li")).to_have_count(4)
        assert await page.evaluate(CONTRAST) == []


async def test_the_keyboard_reaches_everything_and_shows_where_it_is(browser: Browser) -> None:
    """The first stop skips to the verdicts; every stop has an outline."""
    async with shown(browser, mixed()) as page:
        await expect(page.locator("#rows tr")).to_have_count(5)
        await page.keyboard.press("Tab")
        assert await page.evaluate("document.activeElement.className") == "skip"
        stops = []
        for _ in range(14):
            await page.keyboard.press("Tab")
            outline = await page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
            stops.append(await page.evaluate("document.activeElement.id || document.activeElement.className"))
            assert outline != "none", stops[-1]
        assert stops[0] == "language"
        assert {"choice", "tier-filter", "search", "more"} <= {stop.split()[0] for stop in stops}


async def test_a_line_shows_its_rates_and_its_tests(browser: Browser) -> None:
    """Down or up, the floor, the rate at both layers, tests instead of packets, and the last test as evidence."""
    state = State(judgements=[line_judgement()], evaluated_ns=time_ns(), sources={"wuhan": Source()})
    async with shown(browser, state, "/?lang=en") as page:
        await expect(page.locator("#rows tr")).to_have_count(1)
        (row,) = await texts(page, "#rows tr")
        for part in (
            "↓ down",
            "≥ 1 Gbit/s (IP layer)",
            "IP layer 620 Mbit/s",
            "goodput 590 Mbit/s",
            "4 tests",
        ):
            assert part in row
        for part in ("packets", "P50", "physical floor", "undefined", "NaN"):
            assert part not in row
        assert "floor met 50% missed 50%" in row
        await page.locator("#rows button.more").click()
        (evidence,) = await texts(page, "#rows tr.evidence")
        assert "Last test 2026-11-23 12:14:59 +08:00, bounded by path_rate" in evidence
    untested = replace(line_judgement(Verdict.NO_DATA), counts={}, last_test=None)
    async with shown(browser, replace(state, judgements=[untested])) as page:
        await expect(page.locator("#rows tr")).to_have_count(1)
        (row,) = await texts(page, "#rows tr")
        assert "↓ 下行" in row
        assert "IP 层 未测得 净荷 未测得" in row
        assert "没有测试" in row
