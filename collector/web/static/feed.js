// Fetches the state again and again, and tells live from stale from gone.

const TIMEOUT_MS = 8000;
const CLOSED_BREACHES = 50;

// One resource; what has not changed on the server is not sent again.
class Resource {
  constructor(path) {
    this.path = path;
    this.tag = null;
    this.value = null;
  }

  async refresh() {
    const headers = this.tag ? { "If-None-Match": this.tag } : {};
    const response = await fetch(this.path, { headers, cache: "no-store", signal: AbortSignal.timeout(TIMEOUT_MS) });
    if (response.status !== 304) {
      if (!response.ok) throw new Error(`${this.path}: ${response.status}`);
      this.value = await response.json();
      this.tag = response.headers.get("ETag");
    }
    const date = Date.parse(response.headers.get("Date") ?? "");
    return Number.isNaN(date) ? Date.now() : date;
  }
}

export class Feed {
  // `changed` is called after every try.
  constructor(changed) {
    this.changed = changed;
    this.verdicts = new Resource("/api/v1/verdicts");
    this.open = new Resource("/api/v1/breaches?state=open");
    this.closed = new Resource(`/api/v1/breaches?state=closed&limit=${CLOSED_BREACHES}`);
    this.fleet = new Resource("/api/v1/fleet");
    this.faults = new Resource("/api/v1/faults");
    this.answeredMs = null; // the collector's time of its last answer
    this.failing = false;
    this.skewMs = 0; // what the collector's clock is ahead of the browser's
  }

  // The collector's time, so that ages are right on a machine whose clock is not.
  nowMs() {
    return Date.now() + this.skewMs;
  }

  get evaluatedMs() {
    const at = this.verdicts.value?.evaluated_at;
    return at ? Date.parse(at) : null;
  }

  get intervalMs() {
    return (this.fleet.value?.evaluation_interval_seconds ?? 10) * 1000;
  }

  // connecting, gone, waiting (no evaluation yet), stale or live
  get condition() {
    if (this.failing) return "gone";
    if (this.answeredMs === null) return "connecting";
    if (this.evaluatedMs === null) return "waiting";
    return this.nowMs() - this.evaluatedMs > Math.max(3 * this.intervalMs, 15000) ? "stale" : "live";
  }

  async run() {
    for (;;) {
      try {
        const resources = [this.fleet, this.verdicts, this.open, this.closed, this.faults];
        const [serverMs] = await Promise.all(resources.map((resource) => resource.refresh()));
        // The Date header has whole seconds: half a second is what it is off in the mean.
        const skewMs = serverMs + 500 - Date.now();
        if (this.answeredMs === null || Math.abs(skewMs - this.skewMs) > 1500) this.skewMs = skewMs;
        this.answeredMs = this.nowMs();
        this.failing = false;
      } catch {
        this.failing = true;
      }
      this.changed();
      const waitMs = Math.min(5000, Math.max(1000, this.intervalMs / 3));
      await new Promise((resolve) => setTimeout(resolve, waitMs));
    }
  }
}
