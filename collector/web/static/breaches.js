// A breach as an item of a list.

import { element, setText } from "./dom.js";
import * as format from "./format.js";
import { keyOf, pathName, symbol } from "./judgements.js";

export class BreachItem {
  constructor(breach, text, names) {
    this.text = text;
    this.breach = breach;
    const language = text.htmlLang === "en" ? "en" : "zh";
    this.when = element("span", { class: "when" });
    this.current = element("span", { class: "current", hidden: "" });
    this.node = element(
      "li",
      { id: `breach-${breach.id}`, class: "breach", "data-state": breach.state },
      element(
        "p",
        { class: "what" },
        symbol(breach.state === "open" ? "FAIL" : "PASS"),
        element("b", {}, pathName(breach, names, text)),
        element("span", { class: "chip" }, breach.tier_name[language]),
        element("span", { class: "chip" }, breach.promise[language]),
        this.current,
      ),
      element("p", { class: "when-line" }, this.when),
      element("p", { class: "reason" }, breach.opening.reason[language]),
      ...(breach.fault ? [element("p", { class: "reason fault" }, text.partOf(breach.fault.summary[language]))] : []),
    );
    this.key = keyOf(breach);
  }

  // The verdict of the same path and direction as it is now, and how long it has lasted.
  update(nowMs, judgement) {
    const { text, breach } = this;
    const opened = Date.parse(breach.opened_at);
    if (breach.closed_at === null) {
      const lasting = text.lasting(format.duration(nowMs - opened, text));
      setText(this.when, `${text.since(format.dateTime(opened))} · ${lasting}`);
    } else {
      const closed = Date.parse(breach.closed_at);
      const closedText = text.closedAt(format.dateTime(closed), format.duration(closed - opened, text));
      setText(this.when, `${text.since(format.dateTime(opened))} · ${closedText}`);
    }
    const shown = breach.closed_at === null && judgement;
    this.current.hidden = !shown;
    if (shown && this.current.dataset.verdict !== judgement.verdict) {
      this.current.dataset.verdict = judgement.verdict;
      this.current.replaceChildren(`${text.now} `, symbol(judgement.verdict), ` ${text.verdict[judgement.verdict]}`);
    }
  }
}
