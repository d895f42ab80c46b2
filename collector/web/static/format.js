// Numbers, times and durations as text. Pure.

export function milliseconds(seconds) {
  const ms = seconds * 1000;
  return `${Number(ms.toPrecision(ms >= 100 ? 4 : 3))} ms`;
}

// How far a clock may be off.
export function clockBound(seconds) {
  const us = seconds * 1e6;
  return us < 1000 ? `${Number(us.toPrecision(3))} µs` : milliseconds(seconds);
}

export function limit({ operator, seconds }) {
  return `${operator === "<=" ? "≤" : operator} ${milliseconds(seconds)}`;
}

// A rate to four digits: "9.87 Gbit/s".
export function rate(bitsPerSecond) {
  const [size, unit] = [
    [1e9, "Gbit/s"],
    [1e6, "Mbit/s"],
    [1e3, "kbit/s"],
  ].find(([least]) => bitsPerSecond >= least) ?? [1e3, "kbit/s"];
  return `${Number((bitsPerSecond / size).toPrecision(4))} ${unit}`;
}

// The histogram bucket that holds a percentile: "0.4–0.5 ms", "≤ 0.05 ms", "> 1000 ms".
export function bucket(edges) {
  const { above_seconds: above, at_most_seconds: atMost } = edges;
  if (atMost === null) return `> ${milliseconds(above)}`;
  if (above === 0) return `≤ ${milliseconds(atMost)}`;
  return `${milliseconds(above).replace(" ms", "")}–${milliseconds(atMost)}`;
}

// A share that is not nothing never reads 0 %, and one that is not all never reads 100 %.
export function percent(ratio) {
  if (ratio === null || ratio === undefined) return "–";
  const value = ratio * 100;
  if (value === 0) return "0%";
  if (value < 0.01) return "<0.01%";
  if (value > 99.99 && value < 100) return ">99.99%";
  return `${Number(value.toFixed(2))}%`;
}

export function count(number) {
  return String(number).replace(/\B(?=(\d{3})+$)/g, ",");
}

const SHANGHAI_MS = 8 * 3600 * 1000;

// "2026-11-23 12:15:59 +08:00": China has no summer time.
export function dateTime(milliseconds) {
  const local = new Date(milliseconds + SHANGHAI_MS).toISOString();
  return `${local.slice(0, 10)} ${local.slice(11, 19)} +08:00`;
}

export function timeSpan(start, end) {
  return `${dateTime(start).slice(0, 19)} – ${timeOfDay(end)} +08:00`;
}

export function timeOfDay(milliseconds) {
  return new Date(milliseconds + SHANGHAI_MS).toISOString().slice(11, 19);
}

// The two largest units: "3 分 20 秒", "3 min 20 s".
export function duration(milliseconds, text) {
  const total = Math.max(0, Math.round(milliseconds / 1000));
  const parts = [
    [Math.floor(total / 86400), "d"],
    [Math.floor(total / 3600) % 24, "h"],
    [Math.floor(total / 60) % 60, "min"],
    [total % 60, "s"],
  ];
  const first = parts.findIndex(([amount]) => amount > 0);
  const shown = first < 0 ? [parts[3]] : parts.slice(first, first + 2).filter(([amount]) => amount > 0);
  return shown.map(([amount, unit]) => `${amount} ${text.duration[unit]}`).join(" ");
}
