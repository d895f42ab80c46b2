// A judgement as a row of the table, and the order of rows: the worst first.

import { element, setText } from "./dom.js";
import * as format from "./format.js";

export const VERDICTS = ["FAIL", "INDETERMINATE", "NO_DATA", "PASS"];
const SYMBOLS = { FAIL: "✕", INDETERMINATE: "?", NO_DATA: "○", PASS: "✓" };
const ARROWS = { forward: "→", reverse: "←", round_trip: "⇄", down: "↓", up: "↑" };
const OUTCOMES = ["within", "over", "uncertain", "lost", "unattributed"];
const LABELS = ["source", "target", "tier", "provider", "kind", "dscp"];

export function keyOf(judgement) {
  return JSON.stringify([...LABELS.map((label) => judgement[label]), judgement.direction, judgement.objective]);
}

export function symbol(verdict) {
  return element("span", { class: "symbol", "aria-hidden": "true" }, SYMBOLS[verdict]);
}

export function worstFirst(fleet) {
  const tiers = new Map(fleet.tiers.map((tier, at) => [tier.id, at]));
  const directions = Object.keys(ARROWS);
  const rank = (one) => [
    VERDICTS.indexOf(one.verdict),
    // Only failing rows are ordered by how bad they are: the others would change places without meaning.
    one.verdict === "FAIL" ? -Math.round((one.violation_ratio.lower ?? 0) * 100) : 0,
    tiers.get(one.tier) ?? tiers.size,
    one.source,
    one.target,
    one.provider,
    directions.indexOf(one.direction),
    keyOf(one),
  ];
  return (judgements) =>
    judgements
      .map((one) => [rank(one), one])
      .sort(([a], [b]) => {
        for (let at = 0; at < a.length; at += 1) {
          if (a[at] !== b[at]) return a[at] < b[at] ? -1 : 1;
        }
        return 0;
      })
      .map(([, one]) => one);
}

export function pathName(one, names, text) {
  return `${names.site(one.source)} → ${names.site(one.target)} ${text.direction[one.direction]}`;
}

// How the clock of a site is vouched for, in words; null where the site has no agent that would know.
export function clockText(agent, text) {
  if (!agent) return null;
  if (!agent.clock) return text.clock.unknown();
  const { source, error_bound_seconds: bound } = agent.clock;
  if (source === "unsynchronised" || bound === null) return text.clock.unsynchronised();
  return text.clock[source] ? text.clock[source](format.clockBound(bound)) : `${source} ±${format.clockBound(bound)}`;
}

export function isUnsynchronised(agent) {
  return Boolean(agent?.clock) && (agent.clock.source === "unsynchronised" || agent.clock.error_bound_seconds === null);
}

// All clocks in one line: how many are vouched for by what, and the worst bound of each kind.
export function clockSummary(agents, text) {
  const groups = new Map();
  for (const agent of agents) {
    const kind = isUnsynchronised(agent) ? "unsynchronised" : (agent.clock?.source ?? "unknown");
    const known = groups.get(kind) ?? { count: 0, bound: 0 };
    groups.set(kind, { count: known.count + 1, bound: Math.max(known.bound, agent.clock?.error_bound_seconds ?? 0) });
  }
  return ["declared", "ptp", "chrony", "adjtimex", "unsynchronised", "unknown"]
    .filter((kind) => groups.has(kind))
    .map((kind) => text.clockGroup[kind](groups.get(kind).count, format.clockBound(groups.get(kind).bound)))
    .join(text.listGlue);
}

// What the search looks through: identifiers, and names in the language that is shown.
export function searchable(one, names) {
  const words = [one.source, one.target, names.site(one.source), names.site(one.target), one.provider, one.objective];
  return words.join(" ").toLowerCase();
}

export class Row {
  constructor(judgement, text, names) {
    this.text = text;
    this.names = names;
    this.verdict = element("span", { class: "verdict" });
    this.tag = element("span", { class: "clock-tag", hidden: "" });
    this.promise = element("b");
    this.percentile = element("span");
    this.floor = element("span");
    this.ofTests = judgement.measure === "throughput";
    this.outcomes = this.ofTests ? text.testOutcome : text.outcome;
    this.measured = (this.ofTests ? Object.keys(text.layer) : ["p50", "p99"]).map((name) => [name, element("dd")]);
    this.bar = element("div", { class: "bar", "aria-hidden": "true" });
    this.segments = OUTCOMES.map((outcome) => element("span", { class: outcome }));
    this.bar.append(...this.segments);
    this.shares = OUTCOMES.map((outcome) => element("li", { class: outcome, hidden: "" }));
    this.packets = element("span", { class: "minor" });
    this.reason = element("span", { class: "reason" });
    this.more = element("button", { type: "button", class: "more", "aria-expanded": "false" }, text.evidence);
    this.evidence = null;
    this.more.addEventListener("click", () => this.#toggleEvidence());
    const cell = (label, ...children) =>
      element("td", { role: "cell", "data-label": text[label] }, element("div", {}, ...children));
    const extra = [names.tier(judgement.tier), judgement.provider, judgement.kind]
      .concat(judgement.dscp ? [`DSCP ${judgement.dscp}`] : [])
      .filter(Boolean)
      .join(" · ");
    this.node = element(
      "tr",
      { role: "row" },
      cell("columnVerdict", this.verdict),
      cell(
        "columnPath",
        element(
          "b",
          { class: "path" },
          element("span", {}, names.site(judgement.source)),
          element("span", { class: "arrow" }, " → "),
          element("span", {}, names.site(judgement.target)),
        ),
        element("span", { class: "minor" }, extra),
        this.tag,
      ),
      cell(
        "columnDirection",
        element(
          "span",
          { class: "direction" },
          element("span", { class: "arrow", "aria-hidden": "true" }, ARROWS[judgement.direction]),
          ` ${text.direction[judgement.direction]}`,
        ),
      ),
      cell(
        "columnPromise",
        this.promise,
        element("span", { class: "minor" }, this.percentile),
        element("span", { class: "minor" }, this.floor),
      ),
      cell(
        "columnDelay",
        element(
          "dl",
          { class: "delays" },
          ...this.measured.flatMap(([name, node]) => [
            element("dt", {}, this.ofTests ? text.layer[name] : name.toUpperCase()),
            node,
          ]),
        ),
      ),
      cell("columnPackets", this.bar, element("ul", { class: "shares" }, ...this.shares), this.packets),
      cell("columnReason", this.reason, this.more),
    );
  }

  // The rows of the table: the judgement, and beneath it the evidence where somebody asked for it.
  get nodes() {
    return this.evidence ? [this.node, this.evidence] : [this.node];
  }

  update(judgement, agents) {
    const { text } = this;
    this.judgement = judgement;
    this.agents = agents;
    if (this.node.dataset.verdict !== judgement.verdict) {
      this.node.dataset.verdict = judgement.verdict;
      this.verdict.replaceChildren(symbol(judgement.verdict), text.verdict[judgement.verdict]);
    }
    this.#updateClock(judgement, agents);
    const language = text.htmlLang === "en" ? "en" : "zh";
    const ofDelay = judgement.measure === "delay";
    setText(this.promise, ofDelay ? format.limit(judgement.limit) : judgement.promise[language]);
    const window = format.duration(judgement.window.seconds * 1000, text);
    setText(this.percentile, ofDelay ? text.promise(judgement.percentile, window) : text.window(window));
    setText(this.floor, this.ofTests ? "" : text.floor(format.milliseconds(judgement.floor_seconds)));
    for (const [name, node] of this.measured) {
      const known = this.ofTests ? judgement.last_test?.bits_per_second[name] : judgement.delay[name];
      const shown = this.ofTests ? format.rate : format.bucket;
      setText(node, known ? shown(known) : text.notMeasured);
      node.classList.toggle("absent", !known);
    }
    this.#updateShares(judgement);
    setText(this.reason, judgement.reason[language]);
    this.#showEvidence();
  }

  #updateClock(judgement, agents) {
    const unsynchronised =
      judgement.direction === "round_trip" || this.ofTests
        ? []
        : [judgement.source, judgement.target].filter((site) => isUnsynchronised(agents.get(site)));
    this.tag.hidden = unsynchronised.length === 0;
    setText(
      this.tag,
      unsynchronised.length ? this.text.clockTag(unsynchronised.map(this.names.site).join(this.text.listGlue)) : "",
    );
  }

  #updateShares({ counts, packets, coverage }) {
    const { text } = this;
    OUTCOMES.forEach((outcome, at) => {
      const share = packets ? counts[outcome] / packets : 0;
      // The least width that can be seen: a share that is not nothing must not look like nothing.
      this.segments[at].style.flexGrow = String(share);
      this.segments[at].hidden = counts[outcome] === 0;
      this.shares[at].hidden = counts[outcome] === 0;
      setText(this.shares[at], `${this.outcomes[outcome]} ${format.percent(share)}`);
    });
    this.bar.hidden = packets === 0;
    const covered = `${Math.round(coverage * 100)}%`;
    const [some, none] = this.ofTests ? [text.tests, text.noTests] : [text.packets, text.noPackets];
    setText(this.packets, packets ? some(format.count(packets), covered) : none(covered));
  }

  #toggleEvidence() {
    if (this.evidence) {
      this.evidence.remove();
      this.evidence = null;
    } else {
      this.list = element("dl");
      const cell = element("td", { role: "cell", colspan: "7" }, this.list);
      this.evidence = element("tr", { role: "row", class: "evidence" }, cell);
      this.#showEvidence();
      this.node.after(this.evidence);
    }
    this.more.setAttribute("aria-expanded", String(this.evidence !== null));
  }

  #showEvidence() {
    if (!this.evidence) return;
    const { text, judgement: one } = this;
    const { violation_ratio: ratio, violation_bound: bound } = one;
    const clock = (site) => `${this.names.site(site)} ${clockText(this.agents.get(site), text) ?? text.agentNone}`;
    const facts = [
      [
        text.evidenceBound,
        text.evidenceBoundText(
          format.percent(bound.lower),
          format.percent(bound.upper),
          format.percent(one.threshold),
        ),
      ],
      [text.evidenceRatio, text.evidenceRatioText(format.percent(ratio.lower), format.percent(ratio.upper))],
      [
        text.evidenceCounts,
        OUTCOMES.filter((outcome) => this.outcomes[outcome])
          .map((outcome) => `${this.outcomes[outcome]} ${format.count(one.counts[outcome])}`)
          .join(text.listGlue),
      ],
      [
        text.evidenceWindow,
        format.timeSpan(Date.parse(one.window.start), Date.parse(one.window.end)),
      ],
      this.ofTests
        ? [text.evidenceTest, this.#lastTest(one.last_test)]
        : [text.evidenceClock, [one.source, one.target].map(clock).join(text.listGlue)],
      [text.evidenceRule, `${one.objective} / ${one.reason.code}`],
      [text.evidenceLabels, LABELS.map((label) => `${label}=${one[label]}`).join(" ")],
    ];
    if (!this.list.firstChild) {
      for (const [term] of facts) this.list.append(element("dt", {}, term), element("dd"));
    }
    this.list.querySelectorAll("dd").forEach((node, at) => setText(node, facts[at][1]));
  }

  #lastTest(test) {
    if (!test?.ended_at) return this.text.notMeasured;
    return this.text.evidenceTestText(format.dateTime(Date.parse(test.ended_at)), test.limited_by);
  }
}
