// The answers of /api/v1/console, as internal/console writes them.

export interface State {
  seq: number;
  now: string;
  started: string;
  verdict: { level: "good" | "busy" | "bad"; text: string };
  waiting: number;
  flows: number;
  outstanding: number;
  tasks?: { waiting: number; running: number; scheduled: number };
  today: Today;
  avoided?: number;
  since?: string;
  lately: Lately;
  classes: ClassLine[];
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
  finished: number;
  served: number;
  refused: number;
}

export interface Upstream {
  name: string;
  retired?: boolean;
  seats: number;
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
}

export interface Breaker {
  state: "closed" | "open" | "half-open";
  since?: string;
  next_probe_ms: number;
  trips: number;
  run: number;
  reason: string;
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
  trip: boolean;
  reset: boolean;
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
}

export interface Try {
  number: number;
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
