// What a client gets when the provider fails. The model's name asks the simulator for the failure.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { assertCameBackWhenTold, join, lasting, occupy, outage, recordingFetch, rejection, say, start, untilStats } from './harness.js';

const ask = (client, model, more = {}) => client.chat.completions.create({ ...say('Hello'), model, ...more });

describe('errors', { concurrency: true, timeout: 60_000 }, () => {
  let gateway;
  let client;
  before(async () => {
    gateway = await start(null, { env: { MILLRACE_UPSTREAMS_0_TIMEOUT_FIRST_BYTE: '2s', CIRCUIT_BREAKER_FAILURE_THRESHOLD: '100' } });
    client = gateway.client();
  });
  after(() => gateway.stop());

  for (const [model, type, status, message] of [
    ['sim-400', OpenAI.BadRequestError, 400, /refused by the fault script/],
    ['sim-context', OpenAI.BadRequestError, 400, /maximum context length/],
    ['sim-404', OpenAI.NotFoundError, 404, /does not exist/],
    // What is between the gateway and the provider is told in the gateway's own words: a client whose own key is in order must
    // not be told that it is wrong.
    ['sim-401', OpenAI.InternalServerError, 502, /gateway's own credential/],
    ['sim-500', OpenAI.InternalServerError, 502, /upstream failed/],
    ['sim-503', OpenAI.InternalServerError, 503, /overloaded/],
  ]) {
    for (const stream of [false, true]) {
      test(`${model}${stream ? ' before a stream' : ''} is ${type.name} ${status}`, async () => {
        const error = await rejection(ask(client, model, { stream }));
        assert.ok(error instanceof type, `${error.constructor.name}: ${error.message}`);
        assert.equal(error.status, status);
        assert.match(error.message, message);
        assert.equal(typeof error.error.type, 'string');
      });
    }
  }

  test('a body that is not JSON is a bad request', async () => {
    const response = await fetch(`${gateway.baseURL}/chat/completions`, { method: 'POST', body: '{"model":', headers: { 'content-type': 'application/json' } });
    assert.equal(response.status, 400);
    const { error } = await response.json();
    assert.equal(error.type, 'invalid_request_error');
    assert.equal(typeof error.message, 'string');
  });

  test('an unknown path is not found, as JSON', async () => {
    const error = await rejection(client.post('/nowhere', { body: {} }));
    assert.ok(error instanceof OpenAI.NotFoundError, `${error}`);
    assert.equal(typeof error.error.message, 'string');
  });

  test('an error frame within a stream', async () => {
    const error = await rejection(join(await ask(client, 'sim-error-frame', { stream: true })));
    assert.ok(error instanceof OpenAI.APIError, `${error}`);
    assert.ok(error.message.length > 0);
  });

  test('a stream that is cut does not look complete', async () => {
    const error = await rejection(join(await ask(client, 'sim-cut', { stream: true })));
    assert.ok(error instanceof OpenAI.APIError, `${error}`);
  });

  test('an upstream that hangs', async () => {
    const error = await rejection(ask(client, 'sim-hang'));
    assert.ok(error instanceof OpenAI.InternalServerError, `${error.constructor.name}: ${error.message}`);
  });
});

describe('a quota that is gone for good', { timeout: 30_000 }, () => {
  test('is final: no wait, no retry by gateway or SDK', async (t) => {
    const gateway = await start(t);
    const begun = performance.now();
    const error = await rejection(ask(gateway.client({ maxRetries: 2 }), 'sim-insufficient_quota'));
    assert.ok(error instanceof OpenAI.RateLimitError, `${error.constructor.name}: ${error.message}`);
    assert.equal(error.code, 'insufficient_quota');
    assert.equal(error.headers.get('x-should-retry'), 'false');
    assert.ok(performance.now() - begun < 5_000);
    const stats = await untilStats(gateway, (s) => s.in_flight === 0);
    assert.equal(stats.statuses['429'], 1, JSON.stringify(stats.statuses));
  });
});

describe('what the SDK does by itself', { concurrency: true, timeout: 60_000 }, () => {
  const patient = { env: { CIRCUIT_BREAKER_FAILURE_THRESHOLD: '100' } };

  test('asks once where asking again cannot help', async (t) => {
    const gateway = await start(t, patient);
    for (const model of ['sim-400', 'sim-404', 'sim-401']) {
      const raw = recordingFetch();
      await rejection(ask(gateway.client({ maxRetries: 2, fetch: raw.fetch }), model));
      assert.equal(raw.calls.length, 1, model);
    }
  });

  test('asks again when told, if the provider is overloaded, until it is too much', async (t) => {
    const gateway = await start(t, patient);
    const raw = recordingFetch();
    const error = await rejection(ask(gateway.client({ maxRetries: 1, fetch: raw.fetch }), 'sim-503'));
    assert.equal(error.status, 503);
    assert.deepEqual(raw.calls.map((c) => c.status), [503, 503]);
    assertCameBackWhenTold(...raw.calls);
  });

  test('outlasts a failure that passes', async (t) => {
    const gateway = await start(t, patient);
    await gateway.fault(outage);
    const raw = recordingFetch();
    const answer = await ask(gateway.client({ maxRetries: 4, fetch: raw.fetch }), 'sim-large');
    assert.ok(answer.choices[0].message.content.length > 0);
    assert.equal(raw.calls[0].status, 503);
    assert.equal(raw.calls.at(-1).status, 200);
  });
});

describe('timeouts of the SDK', { concurrency: true, timeout: 60_000 }, () => {
  test('end a slow answer, and the provider is let go', async (t) => {
    const gateway = await start(t, { judge: lasting });
    const error = await rejection(ask(gateway.client({ timeout: 1_500 }), 'sim-large'));
    assert.ok(error instanceof OpenAI.APIConnectionTimeoutError, `${error}`);
    await untilStats(gateway, (s) => s.in_flight === 0 && s.aborted === 1);
  });

  test('are known to the gateway, which ends the hold before', async (t) => {
    const gateway = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '1' }, judge: lasting });
    const seat = await occupy(gateway);
    const raw = recordingFetch();
    // The SDK tells the timeout of a request, but not that of its client.
    const error = await rejection(gateway.client({ fetch: raw.fetch }).chat.completions.create(say('Hello'), { timeout: 12_000 }));
    assert.ok(error instanceof OpenAI.RateLimitError, `${error.constructor.name}: ${error.message}`);
    assert.equal(error.code, 'rate_limit_exceeded');
    const [call] = raw.calls;
    assert.ok(call.answered - call.sent >= 9_000, `after ${call.answered - call.sent} ms`);
    await seat.release();
    assert.equal((await gateway.stats()).requests, 1, 'it never reached the provider');
  });
});
