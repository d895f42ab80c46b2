// The page: what to show of the feed, in which language, under which filter.

import { BreachItem } from "./breaches.js";
import { arrange, element, setText } from "./dom.js";
import { Feed } from "./feed.js";
import * as format from "./format.js";
import {
  Row,
  VERDICTS,
  clockSummary,
  clockText,
  isUnsynchronised,
  keyOf,
  pathName,
  searchable,
  symbol,
  worstFirst,
} from "./judgements.js";
import { messages } from "./messages.js";

const FIRST_BREACHES = 5;
const FIRST_FAULTS = 5;
const FIRST_ROWS = 200; // the worst come first; more would slow a phone down and tell nothing
const byId = (id) => document.getElementById(id);

const query = new URLSearchParams(location.search);
const language = chooseLanguage();
const text = messages[language];
const filter = {
  verdict: VERDICTS.includes(query.get("verdict")) ? query.get("verdict") : "",
  tier: query.get("tier") ?? "",
  words: query.get("q") ?? "",
};

const feed = new Feed(render);
const rows = new Map();
const items = new Map();
let names = null;
let namesOf = null;
let allBreaches = false;
let allRows = false;
let opened = null;
let scrolled = false;

function chooseLanguage() {
  const asked = query.get("lang");
  if (asked in messages) {
    remember(asked);
    return asked;
  }
  return recall() ?? "zh";
}

// A browser may forbid storage; the language is then chosen anew.
function remember(chosen) {
  try {
    localStorage.setItem("language", chosen);
  } catch {
    // stays as the address says
  }
}

function recall() {
  try {
    const kept = localStorage.getItem("language");
    return kept in messages ? kept : null;
  } catch {
    return null;
  }
}

function address(changes) {
  const made = new URLSearchParams(location.search);
  for (const [name, value] of Object.entries(changes)) {
    if (value) made.set(name, value);
    else made.delete(name);
  }
  return `?${made}${location.hash}`;
}

function translatePage() {
  document.documentElement.lang = text.htmlLang;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = text[node.dataset.text];
  byId("search").placeholder = text.searchHint;
  const other = byId("language");
  other.textContent = text.otherLanguage;
  other.lang = language === "zh" ? "en" : "zh-CN";
  updateAddress();
}

function updateAddress() {
  history.replaceState(null, "", address({ verdict: filter.verdict, tier: filter.tier, q: filter.words }));
  byId("language").href = address({ lang: language === "zh" ? "en" : "zh" });
}

const choices = new Map();

function buildFilters() {
  for (const verdict of ["", ...VERDICTS]) {
    const number = element("span", { class: "number" });
    const label = verdict ? text.verdict[verdict] : text.all;
    const button = element(
      "button",
      { type: "button", class: "choice", "data-verdict": verdict, "aria-pressed": "false" },
      verdict ? symbol(verdict) : "",
      verdict ? ` ${label} ` : `${label} `,
      number,
    );
    button.addEventListener("click", () => {
      filter.verdict = filter.verdict === verdict ? "" : verdict;
      filterChanged();
    });
    choices.set(verdict, { button, number });
    byId("verdict-filter").append(button);
  }
  byId("tier-filter").addEventListener("change", (event) => {
    filter.tier = event.target.value;
    filterChanged();
  });
  byId("search").value = filter.words;
  byId("search").addEventListener("input", (event) => {
    filter.words = event.target.value;
    filterChanged();
  });
  byId("open-more").addEventListener("click", () => {
    allBreaches = true;
    render();
  });
  byId("rows-more").addEventListener("click", () => {
    allRows = true;
    render();
  });
}

function filterChanged() {
  updateAddress();
  render();
}

function readNames(fleet) {
  if (namesOf === fleet) return;
  namesOf = fleet;
  const sites = new Map(fleet.sites.map((site) => [site.id, site.name[language]]));
  const tiers = new Map(fleet.tiers.map((tier) => [tier.id, tier.name[language]]));
  names = { site: (id) => sites.get(id) ?? id, tier: (id) => tiers.get(id) ?? id };
  const chooser = byId("tier-filter");
  const wanted = [["", text.allTiers], ...tiers];
  if (chooser.options.length !== wanted.length) {
    chooser.replaceChildren(...wanted.map(([value, label]) => element("option", { value }, label)));
  }
  if (filter.tier && !tiers.has(filter.tier)) filter.tier = "";
  chooser.value = filter.tier;
}

function render() {
  const { fleet, verdicts, open, closed } = feed;
  if (fleet.value && verdicts.value && open.value && closed.value) {
    readNames(fleet.value);
    const agents = new Map(fleet.value.sites.map((site) => [site.id, site.agent]));
    const current = new Map(verdicts.value.verdicts.map((one) => [keyOf(one), one]));
    renderTable(fleet.value, verdicts.value, agents);
    // Asked for one after the other, a breach may be in both answers; the later state holds.
    const ended = new Set(closed.value.breaches.map((breach) => breach.id));
    const standing = open.value.breaches.filter((breach) => !ended.has(breach.id));
    renderBreaches([...standing, ...closed.value.breaches], current);
    renderSites(fleet.value.sites);
    setText(byId("version"), `Isochrone ${fleet.value.version}`);
  }
  renderStatus();
  document.body.dataset.condition = feed.condition;
}

function renderTable(fleet, { verdicts: judgements, total: known }, agents) {
  const numbers = Object.fromEntries(VERDICTS.map((verdict) => [verdict, 0]));
  const words = filter.words.toLowerCase().split(/\s+/).filter(Boolean);
  const chosen = [];
  for (const one of worstFirst(fleet)(judgements)) {
    if (filter.tier && one.tier !== filter.tier) continue;
    if (words.length) {
      const searched = searchable(one, names);
      if (!words.every((word) => searched.includes(word))) continue;
    }
    numbers[one.verdict] += 1;
    if (!filter.verdict || one.verdict === filter.verdict) chosen.push(one);
  }
  const shown = new Map();
  for (const one of allRows ? chosen : chosen.slice(0, FIRST_ROWS)) {
    const key = keyOf(one);
    const row = rows.get(key) ?? new Row(one, text, names);
    row.update(one, agents);
    shown.set(key, row);
  }
  rows.clear();
  for (const [key, row] of shown) rows.set(key, row);
  arrange(byId("rows"), [...shown.values()].flatMap((row) => row.nodes));
  byId("rows-more").hidden = shown.size === chosen.length;
  setText(byId("rows-more"), text.showAll(format.count(chosen.length)));
  const total = VERDICTS.reduce((sum, verdict) => sum + numbers[verdict], 0);
  for (const [verdict, { button, number }] of choices) {
    setText(number, format.count(verdict ? numbers[verdict] : total));
    button.setAttribute("aria-pressed", String(filter.verdict === verdict));
    button.classList.toggle("none", Boolean(verdict) && numbers[verdict] === 0);
  }
  const listed = format.count(judgements.length);
  const left = judgements.length < known ? text.notListed(listed, format.count(known)) : "";
  setText(byId("shown"), text.shown(format.count(chosen.length), listed) + left);
  byId("table").hidden = chosen.length === 0;
  byId("empty").hidden = chosen.length > 0;
  setText(byId("empty"), judgements.length ? text.empty : text.notEvaluated);
}

function renderBreaches(breaches, current) {
  const wanted = new Map();
  for (const breach of breaches) {
    const id = `${breach.id}/${breach.state}`;
    wanted.set(id, items.get(id) ?? new BreachItem(breach, text, names));
  }
  items.clear();
  for (const [id, item] of wanted) {
    items.set(id, item);
    item.current_judgement = current.get(item.key);
    item.update(feed.nowMs(), item.current_judgement);
  }
  const all = [...items.values()];
  const open = all.filter((item) => item.breach.state === "open");
  const closed = all.filter((item) => item.breach.state === "closed");
  announce(open, closed);
  byId("open").hidden = feed.evaluatedMs === null;
  byId("open").dataset.count = String(Math.min(open.length, 1));
  setText(byId("open-title"), open.length ? `${text.openBreaches} ${open.length}` : text.noBreaches);
  arrange(byId("open-list"), (allBreaches ? open : open.slice(0, FIRST_BREACHES)).map((item) => item.node));
  byId("open-more").hidden = allBreaches || open.length <= FIRST_BREACHES;
  setText(byId("open-more"), text.showAll(format.count(open.length)));
  byId("closed").hidden = closed.length === 0;
  setText(byId("closed-title"), text.closedBreaches(closed.length));
  arrange(byId("closed-list"), closed.map((item) => item.node));
  document.title = `${open.length ? `(${open.length}) ` : ""}${language === "zh" ? "时延圈 Isochrone" : "Isochrone"}`;
  scrollToBreach();
}

// Says what has changed, once, to those who do not see it; what stood open before the page was opened is not news.
function announce(open, closed) {
  const now = new Set(open.map((item) => item.breach.id));
  if (opened !== null) {
    const news = [
      ...open
        .filter((item) => !opened.has(item.breach.id))
        .map((item) => text.announceOpened(pathName(item.breach, names, text))),
      ...closed
        .filter((item) => opened.has(item.breach.id))
        .map((item) => text.announceClosed(pathName(item.breach, names, text))),
    ];
    if (news.length) setText(byId("announcer"), news.join(". "));
  }
  opened = now;
}

// An alert links to #breach-ID, which does not exist before the first answer.
function scrollToBreach() {
  if (scrolled || !location.hash.startsWith("#breach-")) return;
  scrolled = true;
  const id = location.hash.slice(1);
  if (!byId(id) && [...items.values()].some((item) => item.node.id === id)) {
    allBreaches = true;
    arrange(
      byId("open-list"),
      [...items.values()].filter((item) => item.breach.state === "open").map((item) => item.node),
    );
  }
  const target = byId(id);
  if (!target) return;
  if (byId("closed").contains(target)) byId("closed").open = true;
  target.classList.add("wanted");
  target.scrollIntoView({ block: "center" });
}

function renderSites(sites) {
  byId("sites").hidden = sites.length === 0;
  const agents = sites.map((site) => site.agent).filter(Boolean);
  setText(byId("sites-title"), text.sites(sites.length, clockSummary(agents, text) || text.agentNone));
  if (!byId("sites").open) return;
  byId("sites-list").replaceChildren(
    ...sites.map((site) => {
      const { agent } = site;
      const state = !agent ? text.agentNone : agent.up ? text.agentUp : text.agentDown(agent.reason);
      const seen = agent && !agent.up && agent.seen_at ? text.lastSeen(format.dateTime(Date.parse(agent.seen_at))) : "";
      const clock = clockText(agent, text);
      return element(
        "li",
        { "data-up": agent ? String(agent.up) : "none" },
        element("b", {}, site.name[language]),
        element("span", { class: "minor" }, [site.id, site.district, site.provider].filter(Boolean).join(" · ")),
        element("span", { class: "agent" }, [state, seen].filter(Boolean).join(" · ")),
        element("span", { class: isUnsynchronised(agent) ? "clock bad" : "clock" }, clock ? text.clockOf(clock) : ""),
      );
    }),
  );
}

const ALARMS = { gone: "goneNotice", stale: "staleNotice" };

function renderStatus() {
  const { condition } = feed;
  const now = feed.nowMs();
  const ago = (at) => format.duration(now - at, text);
  const since = feed.evaluatedMs ?? feed.answeredMs;
  const said = {
    connecting: () => text.connecting,
    waiting: () => text.notEvaluated,
    gone: () =>
      feed.answeredMs === null ? text.neverReached : text.gone(format.timeOfDay(feed.answeredMs), ago(feed.answeredMs)),
    stale: () => text.stale(format.timeOfDay(since), ago(since)),
    live: () => text.live(format.timeOfDay(since), ago(since)),
  }[condition]();
  byId("status").dataset.state = condition;
  setText(byId("status-text"), said);
  const alarms = condition in ALARMS && feed.answeredMs !== null ? [text[ALARMS[condition]]] : [];
  const sites = feed.fleet.value?.sites ?? [];
  const few = (chosen, describe) => {
    const shown = chosen.slice(0, 5).map(describe);
    return shown.join(text.listGlue) + (chosen.length > shown.length ? " …" : "");
  };
  const warnings = [];
  const faults = feed.faults.value?.faults ?? [];
  for (const fault of faults.slice(0, FIRST_FAULTS)) {
    const since = format.dateTime(Date.parse(fault.since));
    warnings.push(text.fault(fault.summary[language], since, format.count(fault.paths)));
  }
  if (faults.length > FIRST_FAULTS) warnings.push(text.moreFaults(format.count(faults.length - FIRST_FAULTS)));
  const explained = new Set(faults.map((fault) => fault.site));
  const down = sites.filter((site) => site.agent && !site.agent.up && !explained.has(site.id));
  if (down.length) {
    const described = few(down, (site) => `${site.name[language]} (${site.agent.reason})`);
    warnings.push(text.agentsDown(down.length, described));
  }
  const unsynchronised = sites.filter((site) => isUnsynchronised(site.agent));
  if (unsynchronised.length) {
    const described = few(unsynchronised, (site) => site.name[language]);
    warnings.push(text.clocksUnsynchronised(unsynchronised.length, described));
  }
  if (renderNotices(byId("alarms"), "bad", "✕", alarms) && alarms.length) setText(byId("announcer"), alarms[0]);
  renderNotices(byId("notices"), "warn", "!", warnings);
}

// Whether anything has changed.
function renderNotices(place, kind, sign, sentences) {
  const wanted = JSON.stringify(sentences);
  if (place.dataset.shown === wanted) return false;
  place.dataset.shown = wanted;
  place.replaceChildren(
    ...sentences.map((sentence) =>
      element(
        "p",
        { class: `notice ${kind}` },
        element("span", { class: "symbol", "aria-hidden": "true" }, sign),
        element("span", {}, sentence),
      ),
    ),
  );
  return true;
}

translatePage();
buildFilters();
byId("sites").addEventListener("toggle", () => feed.fleet.value && renderSites(feed.fleet.value.sites));
setInterval(() => {
  renderStatus();
  document.body.dataset.condition = feed.condition;
  for (const item of items.values()) item.update(feed.nowMs(), item.current_judgement);
}, 1000);
feed.run();
