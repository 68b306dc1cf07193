// Starts the real gateway, with keys, in front of its simulator and of an upstream
// that fails with markup.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";

const binary = process.env.MILLRACE_BIN ?? path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../bin/millrace");

export const keys = { ops: "operator-key-of-the-real-one-0123456789", desk: "viewer-key-of-the-real-one-0123456789", app: "client-key-of-the-real-one-0123456789" };
const roles = { ops: "operator", desk: "viewer", app: "client" };

export const evil = {
  user: `<img src=x onerror="document.title='owned'">`,
  model: `"><script>document.title='owned'</script>`,
  prompt: `<svg onload="document.title='owned'">`,
  error: `</script><script>document.title='owned'</script><iframe srcdoc="<script>parent.document.title='owned'</script>">`,
};

/** An upstream that fails, in words that are markup. */
async function failing() {
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      response.writeHead(500, { "Content-Type": "application/json", "X-Request-Id": evil.error.replace(/[^\x20-\x7e]/g, "") });
      response.end(JSON.stringify({ error: { message: evil.error, type: evil.error, code: evil.error } }));
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { url: `http://127.0.0.1:${server.address().port}/v1`, end: () => (server.closeAllConnections(), server.close()) };
}

const hash = (key) => createHash("sha256").update(key).digest("hex");

/** The keys as the configuration has them. */
export const keyring = `keys: [${Object.keys(keys).map((name) => `{name: ${name}, sha256: ${hash(keys[name])}, tenant: acme, role: ${roles[name]}}`).join(", ")}]`;

const config = (bad) => `
upstreams:
  - {name: main, provider: sim, quota: {requests: 300/m, tokens: 450000/m, seats: 12}}
  - {name: bad, base_url: "${bad}", quota: {requests: 600/m}, breaker: {failures: 100, open: 1s}}
classes: {chat: {weight: 6}, analysis: {weight: 3, rate: 120/m}}
routes: [{model: "fails*", upstreams: [bad]}, {model: "*", upstreams: [main]}]
${keyring}
limits: {drain: 1s}
`;

/** Starts it: its address, its log so far, and how to end it. The configuration may be another one. */
export async function startGateway(write = config) {
  const folder = await mkdtemp(path.join(tmpdir(), "millrace-real-"));
  const bad = await failing();
  await writeFile(path.join(folder, "millrace.yaml"), write(bad.url));
  const { PATH, HOME } = process.env;
  const child = spawn(binary, ["serve", "--config", "millrace.yaml", "--listen", "127.0.0.1:0", "--set", "state_dir=" + path.join(folder, "state")], { cwd: folder, env: { PATH, HOME }, stdio: ["ignore", "pipe", "pipe"] });
  const log = [];
  createInterface({ input: child.stdout }).on("line", (line) => log.push(line));
  const url = await new Promise((found, lost) => {
    createInterface({ input: child.stderr }).on("line", (line) => {
      log.push(line);
      const at = line.match(/ on (http:\/\/127\.0\.0\.1:\d+)\b/)?.[1];
      if (at) found(at);
    });
    child.on("exit", () => lost(new Error(`the gateway ended:\n${log.join("\n")}`)));
  });
  return {
    url,
    /** The audit so far. */
    audit: () => log.filter((l) => l.startsWith("{")).map((l) => JSON.parse(l)).filter((l) => l.msg === "console"),
    log: () => log.join("\n"),
    async end() {
      child.removeAllListeners("exit");
      const gone = once(child, "exit");
      child.kill("SIGKILL");
      await gone;
      bad.end();
      await rm(folder, { recursive: true, force: true });
    },
  };
}

/** One request of a user's: its status and text; 0 when it was cut. */
export const ask = (url, user, { headers, model = "gpt-4o-mini", prompt = "Say something short.", signal } = {}) =>
  fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    signal,
    headers: { "Content-Type": "application/json", Authorization: `Bearer ${keys.app}`, "Millrace-User": user, ...headers },
    body: JSON.stringify({ model, max_tokens: 40, messages: [{ role: "user", content: prompt }] }),
  }).then(
    async (r) => [r.status, await r.text()],
    () => [0, ""],
  );

/** Users who ask again and again until they are told to end. */
export function startUsers(url, names) {
  const left = new AbortController();
  const all = names.map(async (name, i) => {
    while (!left.signal.aborted) {
      const [status] = await ask(url, name, { signal: left.signal, headers: i % 4 === 0 ? { "Millrace-Class": "analysis" } : {} });
      if (status !== 200 && !left.signal.aborted) await new Promise((again) => setTimeout(again, 300));
    }
  });
  return { end: () => (left.abort(), Promise.all(all)) };
}
