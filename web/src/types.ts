// The answers of /api/v1/console, as internal/console writes them.

export interface State {
  seq: number;
  now: string;
  started: string;
  verdict: { level: "good" | "busy" | "bad"; text: string };
  waiting: number;
  running: number;
  flows: number;
  outstanding: number;
  tasks?: { waiting: number; running: number; scheduled: number };
  today: Today;
  avoided?: number;
  since?: string;
  lately: Lately;
  classes: ClassLine[];
  queue: FlowLine[];
  upstreams: Upstream[];
  users: UserLine[];
}

export interface Today {
  finished: number;
  served: number;
  waited: number;
  told_429: number;
  refused: number;
  throttled: number;
}

export interface Lately {
  finished: number;
  refused: number;
  told_429: number;
  wait_p50_ms: number;
  wait_p95_ms: number;
  series: Series;
}

export interface Series {
  start: number;
  step: number;
  finished: number[];
  refused: number[];
  wait_p95_ms: number[];
}

export interface ClassLine {
  name: string;
  waiting: number;
  running: number;
  oldest_ms: number;
  weight: number;
  rate?: { max: number; per_ms: number; started: number; next_ms: number; shadow?: boolean; exceeded: number };
  paused?: boolean;
  finished: number;
  served: number;
  refused: number;
}

export interface FlowName {
  class: string;
  tenant: string;
  user: string;
}

export interface FlowLine extends FlowName {
  waiting: number;
  running: number;
  position: number;
  eta_ms: number;
  eta_p90_ms: number;
  unknown?: boolean;
  reason: string;
  oldest_ms: number;
  share: number;
  fair_share: number;
  paused?: boolean;
  moved_up?: boolean;
}

export interface Upstream {
  name: string;
  retired?: boolean;
  seats: number;
  seats_shadow?: boolean;
  seats_exceeded: number;
  in_use: number;
  outstanding: number;
  windows: Limit[];
  breaker: Breaker;
  attempts: number;
  throttles: number;
  failures: number;
}

export interface Limit {
  dim: string;
  kind: string;
  span_ms: number;
  configured: number;
  learned: number;
  used: number;
  reserved: number;
  free: number;
  burst: number;
  full_ms: number;
  shadow?: boolean;
  exceeded: number;
}

export interface Breaker {
  state: "closed" | "open" | "half-open";
  since?: string;
  next_probe_ms: number;
  trips: number;
  run: number;
  reason: string;
  by_hand?: boolean;
}

export interface UserLine {
  class: string;
  tenant: string;
  user: string;
  requests: number;
  tokens: number;
  share: number;
  wait_max_ms: number;
}

export interface Session {
  in: boolean;
  locked: boolean;
  name?: string;
  role?: string;
  version: string;
  acts: boolean;
  offers: Offers;
}

export interface Offers {
  trip: boolean;
  reset: boolean;
  queue: boolean;
  plan: boolean;
  load: boolean;
}

export interface Tokens {
  input: number;
  output: number;
}

export interface Story {
  id: string;
  class: string;
  tenant: string;
  user: string;
  model: string;
  route: string;
  operation: string;
  stream: boolean;
  outcome: string;
  kind: string;
  cause: string;
  reason: string;
  status: number;
  upstream: string;
  attempts: number;
  arrived: string;
  queued_ms: number;
  first_byte_ms: number;
  total_ms: number;
  quoted: boolean;
  eta_p50_ms: number;
  eta_p90_ms: number;
  estimated: Tokens;
  used: Tokens;
  counted: boolean;
  bytes_out: number;
  tries?: Try[];
  by?: { reason: string; ms: number }[]; // queued_ms by what it was for, the longest first
  summary?: string;
  why?: string[];
  help?: string[];
  moments?: { at_ms: number; what: string; text: string }[];
}

export interface Try {
  number: number;
  queued_ms: number;
  reason: string;
  upstream: string;
  model: string;
  kind: string;
  status: number;
  start_ms: number;
  first_byte_ms: number;
  total_ms: number;
  estimated: Tokens;
  used: Tokens;
  counted: boolean;
}

export interface Setting {
  name: string;
  value: string;
  origin: string;
}

/** A row of GET /api/v1/plan. */
export interface PlanRow {
  users: number;
  wanted_per_min: number;
  served_per_min: number;
  tokens_per_min: number;
  seats: number;
  seats_most: number;
  wait_p50_s: number;
  wait_p95_s: number;
  requests: number;
  answered: number;
  utilization: number;
  nearest: string;
  jain: number;
  good: boolean;
  verdict: string;
  binds?: string;
  change?: { path: string; from: string; to: string }[];
  advice?: string;
  diff?: string;
}

/** A load run, as it stands. */
export interface LoadState {
  phase: "idle" | "running" | "finishing" | "ended" | "failed";
  parameters?: LoadParameters;
  elapsed_seconds: number;
  of_seconds: number;
  sent: number;
  answered: number;
  waiting: number;
  errors: number;
  p50_ms: number;
  p95_ms: number;
  wait_p95_ms: number;
  answers_per_second: number;
  statuses: Record<string, number>;
  points: LoadPoint[];
  report: boolean;
  error?: string;
  caveats: string[];
}

export interface LoadPoint {
  at: number;
  started: number;
  answered: number;
  errors: number;
  in_flight: number;
  p50_ms: number;
  p95_ms: number;
  wait_p95_ms: number;
}

export interface LoadParameters {
  users: number;
  requests_per_minute: number;
  seconds: number;
  warmup_seconds: number;
  tokens: number;
  output_tokens: number;
  stream_share: number;
  classes?: { class: string; weight: number }[];
}
