// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en");
const clock = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", second: "2-digit" });

export const count = (n: number): string => whole.format(n);

export const share = (part: number): string => `${Math.round(100 * part)} %`;

/** A length of time, short: 0, 40 ms, 4.2 s, 3 min, 2.5 h. */
export function span(ms: number): string {
  if (ms <= 0) return "0 s";
  if (ms < 1) return "< 1 ms";
  if (ms < 950) return `${Math.round(ms)} ms`;
  if (ms < 9_950) return `${(ms / 1000).toFixed(1)} s`;
  if (ms < 120_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 7_200_000) return `${Math.round(ms / 60_000)} min`;
  if (ms < 172_800_000) return `${Number((ms / 3_600_000).toFixed(1))} h`;
  return `${Math.round(ms / 86_400_000)} days`;
}

/** The time of day, with the date if it is not today's. */
export function moment(iso: string): string {
  const at = new Date(iso);
  return at.toDateString() === new Date().toDateString() ? clock.format(at) : date.format(at);
}

const dims: Record<string, string> = { requests: "Requests", input: "Input tokens", output: "Output tokens", tokens: "Tokens" };

/** What a limit counts. */
export const dimension = (dim: string): string => dims[dim] ?? dim;

/** "per minute" and so on. */
export function per(ms: number): string {
  switch (ms) {
    case 1_000:
      return "per second";
    case 60_000:
      return "per minute";
    case 3_600_000:
      return "per hour";
    case 86_400_000:
      return "per day";
  }
  return `per ${span(ms)}`;
}

const reasons: Record<string, string> = {
  turn: "others were ahead of it",
  requests: "the upstream's requests",
  input: "the upstream's input tokens",
  output: "the upstream's output tokens",
  tokens: "the upstream's tokens",
  seats: "a free seat at the upstream",
  rate: "the rate of its class",
  breaker: "an upstream that answers",
  ramp: "the upstream's slow start",
  tasks: "a free place for tasks",
  tenant: "the limits of its own key",
  paused: "its class, which is paused",
};

const short: Record<string, string> = { turn: "its turn", seats: "a seat", breaker: "an upstream", rate: "its class's rate", tenant: "its key's limits" };

/** The same for a narrow column. */
export const shortly = (name: string): string => short[name] ?? name;

/** What a request waited for. */
export const reason = (name: string): string => reasons[name] ?? name;
