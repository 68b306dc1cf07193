// The AI SDK with its provider for OpenAI-compatible servers.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { APICallError, embed, embedMany, generateObject, generateText, Output, RetryError, stepCountIs, streamObject, streamText, tool } from 'ai';
import { z } from 'zod';
import { compatible } from './clients.js';
import { assertCameBackWhenTold, lasting, occupy, outage, recordingFetch, rejection, start, until, untilStats } from './harness.js';

const review = z.object({
  verdict: z.enum(['good', 'bad']),
  score: z.number().int().min(1).max(5),
  notes: z.array(z.string()),
});

const weather = () => {
  const asked = [];
  const tools = {
    weather: tool({
      description: 'The weather of some days',
      inputSchema: z.object({ city: z.string(), days: z.number().int() }),
      execute: async (input) => {
        asked.push(input);
        return { celsius: 12 };
      },
    }),
  };
  return { asked, tools };
};

describe('ai: answers', { concurrency: true, timeout: 30_000 }, () => {
  let gateway;
  let model;
  before(async () => {
    gateway = await start(null);
    model = compatible(gateway)('sim-large');
  });
  after(() => gateway.stop());

  test('generateText', async () => {
    const { text, usage, finishReason, response } = await generateText({ model, prompt: 'What turns a mill wheel?' });
    assert.ok(text.length > 20);
    assert.equal(finishReason, 'stop');
    assert.ok(usage.inputTokens > 0 && usage.outputTokens > 0);
    assert.ok(response.headers['millrace-request-id']);
  });

  test('streamText is the same text, piece by piece, with its usage', async () => {
    const prompt = 'Tell me about rivers.';
    const whole = await generateText({ model, prompt });
    const stream = streamText({ model, prompt });
    const pieces = [];
    for await (const piece of stream.textStream) pieces.push(piece);
    assert.equal(pieces.join(''), whole.text);
    assert.ok(pieces.length > 3, `${pieces.length} pieces`);
    assert.equal(await stream.finishReason, 'stop');
    assert.deepEqual((await stream.usage).outputTokens, whole.usage.outputTokens);
  });

  test('tools, whole and streamed, each followed by an answer', async () => {
    const settings = { model, prompt: 'What is the weather?', stopWhen: stepCountIs(3) };
    for (const run of [
      async (tools) => (await generateText({ ...settings, tools })).steps,
      async (tools) => streamText({ ...settings, tools }).steps,
    ]) {
      const { asked, tools } = weather();
      const steps = await run(tools);
      assert.deepEqual(steps.map((s) => s.finishReason), ['tool-calls', 'stop']);
      assert.equal(asked.length, 1);
      assert.equal(typeof asked[0].city, 'string');
      assert.ok(Number.isInteger(asked[0].days));
      assert.deepEqual(steps[0].toolCalls.map((c) => c.toolName), ['weather']);
      assert.ok(steps[1].text.length > 0);
    }
  });

  test('structured output, in each of its forms', async () => {
    const prompt = 'Review this essay.';
    for (const [form, run] of Object.entries({
      generateObject: async () => (await generateObject({ model, schema: review, prompt })).object,
      output: async () => (await generateText({ model, output: Output.object({ schema: review }), prompt })).output,
      streamObject: async () => {
        const stream = streamObject({ model, schema: review, prompt });
        const partial = [];
        for await (const object of stream.partialObjectStream) partial.push(object);
        assert.ok(partial.length > 0);
        return stream.object;
      },
    })) {
      const object = await run();
      assert.deepEqual(review.parse(object), object, form);
    }
  });

  test('embed and embedMany', async () => {
    const embedding = compatible(gateway).embeddingModel('sim-embedding');
    const one = await embed({ model: embedding, value: 'one river' });
    assert.equal(one.embedding.length, 256);
    assert.ok(one.usage.tokens > 0);
    const { embeddings } = await embedMany({ model: embedding, values: ['one river', 'another river'] });
    assert.deepEqual(embeddings[0], one.embedding);
    assert.notDeepEqual(embeddings[1], one.embedding);
  });
});

describe('ai: aborts', { concurrency: true, timeout: 30_000 }, () => {
  test('of a running request', async (t) => {
    const gateway = await start(t, { judge: lasting });
    const controller = new AbortController();
    const failed = rejection(generateText({ model: compatible(gateway)('sim-large'), prompt: 'Tell me all.', abortSignal: controller.signal }));
    await untilStats(gateway, (s) => s.in_flight === 1);
    controller.abort();
    assert.equal((await failed).name, 'AbortError');
    await untilStats(gateway, (s) => s.in_flight === 0 && s.aborted === 1);
  });

  test('of a stream', async (t) => {
    const gateway = await start(t, { judge: lasting });
    const controller = new AbortController();
    const stream = streamText({ model: compatible(gateway)('sim-large'), prompt: 'Tell me all.', abortSignal: controller.signal });
    const kinds = [];
    for await (const part of stream.fullStream) {
      kinds.push(part.type);
      if (kinds.filter((k) => k === 'text-delta').length === 3) controller.abort();
    }
    assert.equal(kinds.at(-1), 'abort');
    const stats = await untilStats(gateway, (s) => s.in_flight === 0 && s.aborted === 1);
    assert.equal(stats.requests, 1);
  });

  test('of a queued request: it never reaches the provider', async (t) => {
    const gateway = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '1' }, judge: lasting });
    const seat = await occupy(gateway);
    const controller = new AbortController();
    const raw = recordingFetch();
    const model = compatible(gateway, { fetch: raw.fetch })('sim-large');
    const failed = rejection(generateText({ model, prompt: 'I wait.', abortSignal: controller.signal }));
    await until(() => raw.calls.length === 1, 'the request is sent');
    setTimeout(() => controller.abort(), 500);
    assert.equal((await failed).name, 'AbortError');
    await seat.release();
    const { text } = await generateText({ model, prompt: 'And me?', maxOutputTokens: 5 });
    assert.ok(text.length > 0);
    assert.equal((await gateway.stats()).accepted, 2);
  });
});

describe('ai: errors', { concurrency: true, timeout: 60_000 }, () => {
  let gateway;
  before(async () => {
    gateway = await start(null, { env: { CIRCUIT_BREAKER_FAILURE_THRESHOLD: '100' } });
  });
  after(() => gateway.stop());
  const ask = (model, more = {}) => generateText({ model: compatible(gateway, more.provider)(model), prompt: 'Hello', maxRetries: 0, ...more });

  for (const [model, status, retryable, message] of [
    ['sim-400', 400, false, /refused by the fault script/],
    ['sim-context', 400, false, /maximum context length/],
    ['sim-404', 404, false, /does not exist/],
    ['sim-401', 502, true, /gateway's own credential/],
    ['sim-500', 502, true, /upstream failed/],
    ['sim-503', 503, true, /overloaded/],
  ]) {
    test(`${model} is an APICallError ${status}`, async () => {
      const error = await rejection(ask(model));
      assert.ok(APICallError.isInstance(error), `${error}`);
      assert.equal(error.statusCode, status);
      assert.match(error.message, message);
      assert.equal(error.isRetryable, retryable);
      assert.equal(typeof error.data.error.type, 'string');
    });

    test(`${model} before a stream is the same`, async () => {
      const told = [];
      const stream = streamText({ model: compatible(gateway)(model), prompt: 'Hello', maxRetries: 0, onError: ({ error }) => told.push(error) });
      await stream.consumeStream();
      assert.equal(told.length, 1);
      assert.ok(APICallError.isInstance(told[0]), `${told[0]}`);
      assert.equal(told[0].statusCode, status);
    });
  }

  test('what is final is not tried again', async () => {
    for (const model of ['sim-400', 'sim-404']) {
      const raw = recordingFetch();
      const error = await rejection(ask(model, { maxRetries: 2, provider: { fetch: raw.fetch } }));
      assert.ok(APICallError.isInstance(error), `${error}`);
      assert.equal(raw.calls.length, 1, model);
    }
  });

  test('what is temporary is tried again, until it is too much', async () => {
    const raw = recordingFetch();
    const error = await rejection(ask('sim-503', { maxRetries: 1, provider: { fetch: raw.fetch } }));
    assert.ok(RetryError.isInstance(error), `${error}`);
    assert.equal(error.reason, 'maxRetriesExceeded');
    assert.deepEqual(raw.calls.map((c) => c.status), [503, 503]);
    assertCameBackWhenTold(...raw.calls);
  });

  test('a failure that passes is not seen', async (t) => {
    const flaky = await start(t, { env: { CIRCUIT_BREAKER_FAILURE_THRESHOLD: '100' } });
    await flaky.fault(outage);
    const raw = recordingFetch();
    const { text } = await generateText({ model: compatible(flaky, { fetch: raw.fetch })('sim-large'), prompt: 'Hello', maxRetries: 4 });
    assert.ok(text.length > 0);
    assert.equal(raw.calls[0].status, 503);
    assert.equal(raw.calls.at(-1).status, 200);
  });

  test('an error frame within a stream ends it with the reason error', async () => {
    const told = [];
    const stream = streamText({ model: compatible(gateway)('sim-error-frame'), prompt: 'Hello', maxRetries: 2, onError: ({ error }) => told.push(error) });
    await stream.consumeStream();
    assert.equal(told.length, 1);
    assert.equal(await stream.finishReason, 'error');
  });

  test('a hold that ends is a temporary 429', async (t) => {
    const held = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '1' }, routes: '[{model: "*", upstreams: [main], hold: 2s}]', judge: lasting });
    const seat = await occupy(held);
    const error = await rejection(generateText({ model: compatible(held)('sim-large'), prompt: 'I wait.', maxRetries: 0 }));
    assert.ok(APICallError.isInstance(error), `${error}`);
    assert.equal(error.statusCode, 429);
    assert.equal(error.isRetryable, true);
    assert.match(error.responseHeaders['retry-after'], /^([1-9]|[1-5]\d)$/);
    await seat.release();
  });
});
