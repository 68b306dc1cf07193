// Asking the gateway.

const base = "/api/v1/console/";

/** What the gateway answered instead of what was asked for. */
export class Refusal extends Error {
  constructor(readonly status: number, message: string) {
    super(message);
  }
}

async function call(method: string, path: string, body?: unknown): Promise<Response> {
  const init: RequestInit = { method, credentials: "same-origin", signal: AbortSignal.timeout(10_000) };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { "Content-Type": "application/json" };
  }
  const answer = await fetch(base + path, init);
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

export async function get<T>(path: string): Promise<T> {
  return (await (await call("GET", path)).json()) as T;
}

export async function post(path: string, body?: unknown): Promise<void> {
  await call("POST", path, body);
}

export async function remove(path: string): Promise<void> {
  await call("DELETE", path);
}

export const streamURL = base + "stream";
