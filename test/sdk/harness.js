// Starts what the tests talk to: the built gateway, and in front of whom it stands, a simulated provider that keeps books.
// Every base URL of the tests comes from here.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
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
 * @param {{quota?: object, env?: object, judge?: string[] | false}} options
 *   quota: variables that replace the ample quota; env: further variables; judge: flags of `millrace sim`, false for the
 *   simulator that is built into the gateway
 */
export async function start(t, { quota = {}, env = {}, judge = quick } = {}) {
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
    const port = await freePort();
    judgeURL = `http://127.0.0.1:${port}`;
    started.push(launch(['sim', '--listen', `127.0.0.1:${port}`, ...judge], {}, folder));
    await started.at(-1).ready(`${judgeURL}/sim/stats`);
    Object.assign(upstream, { OPENAI_BASE_URL: `${judgeURL}/v1`, OPENAI_API_KEY: 'sk-upstream' });
  }

  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const variables = { ...ample, ...quota, ...upstream, ...env, MILLRACE_STATE_DIR: path.join(folder, 'state') };
  started.push(launch(['serve', '--listen', `127.0.0.1:${port}`], variables, folder));
  await started.at(-1).ready(`${url}/readyz`);

  return {
    stop,
    baseURL: `${url}/v1`,
    client: (options = {}) => new OpenAI({ baseURL: `${url}/v1`, apiKey: 'sk-client', maxRetries: 0, timeout: 20_000, ...options }),
    stats: async () => (await fetch(`${judgeURL}/sim/stats`)).json(),
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
  const exited = new Promise((resolve) => child.on('close', resolve));
  const gone = () => failed || child.exitCode !== null || child.signalCode !== null;
  return {
    async ready(url) {
      for (const end = Date.now() + 20_000; Date.now() < end && !gone(); await pause(25)) {
        const ok = await fetch(url).then((r) => r.ok, () => false);
        if (ok) return;
      }
      throw new Error(`millrace ${args.join(' ')} is not ready at ${url}: ${failed ?? ''}\n${output}`);
    },
    async stop() {
      if (gone()) return;
      child.kill('SIGKILL');
      await exited;
    },
  };
}

async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address();
  server.close();
  await once(server, 'close');
  return port;
}

/** Waits until the judge's books satisfy the condition, and returns them; fails with the last books after a while. */
export async function untilStats(gateway, condition, within = 2_000) {
  let stats;
  for (const end = Date.now() + within; Date.now() < end; await pause(20)) {
    stats = await gateway.stats();
    if (condition(stats)) return stats;
  }
  throw new Error(`the judge's books after ${within} ms: ${JSON.stringify(stats)}`);
}

/** A fetch that also keeps the raw text of every body with the time each piece came. */
export function recordingFetch() {
  const pieces = [];
  const record = async (input, init) => {
    const from = performance.now();
    const response = await fetch(input, init);
    const decoder = new TextDecoder();
    const tap = new TransformStream({
      transform(chunk, out) {
        pieces.push({ after: performance.now() - from, text: decoder.decode(chunk, { stream: true }) });
        out.enqueue(chunk);
      },
    });
    return new Response(response.body?.pipeThrough(tap) ?? null, response);
  };
  return { fetch: record, pieces, text: () => pieces.map((p) => p.text).join('') };
}

/** The one-message conversation all tests use. */
export const say = (content, more = {}) => ({ model: 'sim-large', messages: [{ role: 'user', content }], ...more });

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
