// Asking the gateway.

const base = "/api/v1/console/";
const patience = 10_000;
/** By which the gateway tells this page from others where nobody logs in. */
const page = Math.random().toString(36).slice(2);

/** What the gateway answered instead of what was asked for. */
export class Refusal extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

async function call(method: string, path: string, body?: unknown, signal: AbortSignal = AbortSignal.timeout(patience)): Promise<Response> {
  const headers: Record<string, string> = { "Millrace-Page": page };
  const init: RequestInit = { method, credentials: "same-origin", signal, headers };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    headers["Content-Type"] = "application/json";
  }
  const answer = await fetch(path.startsWith("/") ? path : base + path, init);
  if (answer.ok) return answer;
  let words = `The gateway answered ${answer.status}.`;
  try {
    const problem = (await answer.json()) as { detail?: unknown };
    if (typeof problem.detail === "string") words = problem.detail;
  } catch {
    // No problem document: the status says enough.
  }
  throw new Refusal(answer.status, words);
}

/** Asks below the console's API, or anywhere for a path that begins with a slash. */
export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await call("GET", path, undefined, signal)).json()) as T;
}

/** Returns what was answered, null for nothing. */
export async function post<T>(path: string, body?: unknown): Promise<T | null> {
  const answer = await call("POST", path, body);
  return answer.status === 204 ? null : ((await answer.json()) as T);
}

export async function remove(path: string): Promise<void> {
  await call("DELETE", path);
}

export const streamURL = base + "stream";
export const reportURL = base + "load/report";

/** What went wrong, in words. */
export const words = (error: unknown): string => (error instanceof Error ? error.message : "That did not work.");
