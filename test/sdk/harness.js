// Starts what the tests talk to: the built gateway, and in front of whom it stands, a simulated provider that keeps books.
// Every base URL of the tests comes from here.

import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import OpenAI from 'openai';

const binary = path.resolve(process.env.MILLRACE_BIN ?? path.join(import.meta.dirname, '../../bin/millrace'));

// A quota no test gets near, unless it sets its own.
const ample = { MAX_REQUESTS_PER_MINUTE: '60000', MAX_TOKENS_PER_MINUTE: '600000000', MAX_CONCURRENT_REQUESTS: '100' };

// Fast and repeatable answers: the text depends on the prompt alone.
const quick = ['--output', '30', '--ttft', '5ms', '--ttft-p95', '10ms', '--per-token', '1ms'];

/**
 * Starts a gateway and, unless judge is false, a simulated provider behind it as a process of its own. Both end with the
 * test t, or by stop() where a suite shares them.
 *
 * @param {object | null} t the test's context
 * @param {{quota?: object, env?: object, routes?: string, keys?: object, judge?: string[] | false}} options
 *   quota: variables that replace the ample quota; env: further variables; routes: the routes of a configuration file, as
 *   YAML; keys: the keys to make, as flags of `millrace keys create` by their names; the secrets are in keys of the gateway,
 *   by the same names; judge: flags of `millrace sim`, false for the simulator that is built into the gateway
 */
export async function start(t, { quota = {}, env = {}, routes, keys = {}, judge = quick } = {}) {
  const folder = await mkdtemp(path.join(tmpdir(), 'millrace-sdk-'));
  const started = [];
  const stop = async () => {
    await Promise.all(started.map((p) => p.stop()));
    await rm(folder, { recursive: true, force: true });
  };
  t?.after(stop);

  const upstream = {};
  let judgeURL;
  if (judge) {
    started.push(launch(['sim', '--listen', '127.0.0.1:0', ...judge], {}, folder));
    judgeURL = await started.at(-1).ready('/sim/stats');
    Object.assign(upstream, { OPENAI_BASE_URL: `${judgeURL}/v1`, OPENAI_API_KEY: 'sk-upstream' });
  }

  const variables = { ...ample, ...quota, ...upstream, ...env, MILLRACE_STATE_DIR: path.join(folder, 'state') };
  const flags = [];
  if (routes) {
    await writeFile(path.join(folder, 'millrace.yaml'), `routes: ${routes}\n`);
    flags.push('--config', 'millrace.yaml');
  }
  const secrets = {};
  for (const [name, grants] of Object.entries(keys)) {
    const { PATH, HOME } = process.env;
    const made = await promisify(execFile)(binary, ['keys', 'create', '--name', name, ...grants, ...flags], { cwd: folder, env: { PATH, HOME, ...variables } });
    secrets[name] = made.stdout.trim();
  }
  started.push(launch(['serve', '--listen', '127.0.0.1:0', ...flags], variables, folder));
  const url = await started.at(-1).ready('/readyz');

  return {
    stop,
    keys: secrets,
    baseURL: `${url}/v1`,
    client: (options = {}) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-client', maxRetries: 0, timeout: 20_000, ...options }),
    stats: async () => (await fetch(`${judgeURL}/sim/stats`)).json(),
    // Sets the judge's fault script, and begins to count its rules anew.
    fault: async (...rules) => {
      const response = await fetch(`${judgeURL}/sim/fault`, { method: 'POST', body: JSON.stringify(rules) });
      assert.equal(response.status, 200, await response.text());
    },
  };
}

// A child process with its output kept for the message of a failure.
function launch(args, variables, cwd) {
  const { PATH, HOME } = process.env;
  const child = spawn(binary, args, { cwd, env: { PATH, HOME, ...variables }, stdio: ['ignore', 'pipe', 'pipe'] });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => (output = (output + text).slice(-20_000)));
  }
  let failed;
  child.on('error', (error) => (failed = error));
  let stopping = false;
  const exited = new Promise((resolve) => child.on('close', (code, signal) => {
    if (!stopping) console.error(`millrace ${args.join(' ')} ended by itself, ${signal ?? `code ${code}`}:\n${output}`);
    resolve();
  }));
  const gone = () => failed || child.exitCode !== null || child.signalCode !== null;
  return {
    // Waits until the path answers, and returns the address that the process says it has.
    async ready(path) {
      for (const end = Date.now() + 20_000; Date.now() < end && !gone(); await pause(25)) {
        const url = output.match(/ on (http:\/\/127\.0\.0\.1:\d+)\b/)?.[1];
        const ok = url && (await fetch(url + path).then((r) => r.ok, () => false));
        if (ok) return url;
      }
      throw new Error(`millrace ${args.join(' ')} is not ready at ${path}: ${failed ?? ''}\n${output}`);
    },
    async stop() {
      stopping = true;
      if (gone()) return;
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Waits until the judge's books satisfy the condition, and returns them; fails with the last books after a while. */
export async function untilStats(gateway, condition, within = 10_000) {
  let stats;
  for (const end = Date.now() + within; Date.now() < end; await pause(20)) {
    stats = await gateway.stats();
    if (condition(stats)) return stats;
  }
  throw new Error(`the judge's books after ${within} ms: ${JSON.stringify(stats)}`);
}

/**
 * A fetch that remembers what went over the wire: calls holds, for each request, when it was sent, when its header came,
 * and its status and headers; pieces holds the raw text of every body, with the time each piece came. Times are in ms of
 * performance.now().
 */
export function recordingFetch() {
  const calls = [];
  const pieces = [];
  const record = async (input, init) => {
    const call = { sent: performance.now(), path: new URL(input.url ?? input).pathname };
    calls.push(call);
    const response = await fetch(input, init);
    Object.assign(call, { answered: performance.now(), status: response.status, headers: response.headers });
    const decoder = new TextDecoder();
    const tap = new TransformStream({
      transform(chunk, out) {
        pieces.push({ at: performance.now(), text: decoder.decode(chunk, { stream: true }) });
        out.enqueue(chunk);
      },
    });
    return new Response(response.body?.pipeThrough(tap) ?? null, response);
  };
  return { fetch: record, calls, pieces, text: () => pieces.map((p) => p.text).join('') };
}

/** Waits until the condition holds; fails naming what after a while. */
export async function until(condition, what, within = 20_000) {
  for (const end = Date.now() + within; Date.now() < end; await pause(10)) {
    if (condition()) return;
  }
  throw new Error(`not within ${within} ms: ${what}`);
}

/** The error a promise ends with. */
export async function rejection(promise) {
  let value;
  try {
    value = await promise;
  } catch (error) {
    return error;
  }
  return assert.fail(`no error but ${JSON.stringify(value)?.slice(0, 500)}`);
}

/**
 * Takes a seat with an answer that goes on until release() is called. The judge has to be one whose answers last, such as
 * lasting.
 */
export async function occupy(gateway) {
  const leave = new AbortController();
  const response = await fetch(`${gateway.baseURL}/chat/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(say('I hold the seat.', { stream: true })),
    signal: leave.signal,
  });
  assert.equal(response.status, 200);
  const reader = response.body.getReader();
  const drained = (async () => {
    while (!(await reader.read()).done);
    throw new Error('the seat was left before its time');
  })();
  const left = drained.catch((error) => {
    if (!leave.signal.aborted) throw error;
  });
  left.catch(() => {}); // told by release
  return {
    release: async () => {
      leave.abort();
      await left;
    },
  };
}

/** A fault as long as the gateway's patience with one request: its first try fails, one of the next does not. */
export const outage = { kind: 'status', status: 503, count: 6 };

/** Flags of a judge whose answers go on for minutes, unless the request bounds its tokens. */
export const lasting = ['--output', '2000', '--ttft', '400ms', '--ttft-p95', '500ms', '--per-token', '100ms'];

/** The one-message conversation all tests use. */
export const say = (content, more = {}) => ({ model: 'sim-large', messages: [{ role: 'user', content }], ...more });

/**
 * Fails unless the call again was sent when the refusal of the one before said: no earlier, and not much later. A client
 * that is coarse reads Retry-After alone.
 */
export function assertCameBackWhenTold(refused, again, coarse = false) {
  const seconds = refused.headers.get('retry-after');
  assert.match(seconds, /^([1-9]|[1-5]\d)$/);
  const milliseconds = Number(refused.headers.get('retry-after-ms'));
  assert.ok(milliseconds >= 1_000 && milliseconds <= 1_000 * Number(seconds), `retry-after-ms ${milliseconds}, retry-after ${seconds}`);
  const told = coarse ? 1_000 * Number(seconds) : milliseconds;
  const paused = again.sent - refused.answered;
  // Timers of Node may fire a millisecond early.
  assert.ok(paused >= told - 5 && paused < told + 5_000, `came back after ${paused} ms, told ${told}`);
}

/** Joins the text of a stream of chunks. */
export async function join(stream) {
  let text = '';
  const chunks = [];
  for await (const chunk of stream) {
    chunks.push(chunk);
    text += chunk.choices[0]?.delta?.content ?? '';
  }
  return { text, chunks };
}
