// LangChain with its package for OpenAI. It tries again by itself, and decides from the words of an error, too, whether to.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { tool } from '@langchain/core/tools';
import { HumanMessage, ToolMessage } from '@langchain/core/messages';
import OpenAI from 'openai';
import { z } from 'zod';
import { chatOpenAI, openAIEmbeddings } from './clients.js';
import { lasting, occupy, outage, recordingFetch, rejection, start, until, untilStats } from './harness.js';

const review = z.object({
  verdict: z.enum(['good', 'bad']),
  score: z.number().int().min(1).max(5),
  notes: z.array(z.string()),
});

const weather = tool(async ({ city, days }) => `12 degrees in ${city} for ${days} days`, {
  name: 'weather',
  description: 'The weather of some days',
  schema: z.object({ city: z.string(), days: z.number().int() }),
});

describe('langchain: answers', { concurrency: true, timeout: 30_000 }, () => {
  let gateway;
  let model;
  before(async () => {
    gateway = await start(null);
    model = chatOpenAI(gateway);
  });
  after(() => gateway.stop());

  test('invoke', async () => {
    const answer = await model.invoke('What turns a mill wheel?');
    assert.ok(answer.text.length > 20);
    assert.equal(answer.response_metadata.finish_reason, 'stop');
    assert.ok(answer.usage_metadata.input_tokens > 0 && answer.usage_metadata.output_tokens > 0);
  });

  test('a stream is the same text, piece by piece, with its usage', async () => {
    const prompt = 'Tell me about rivers.';
    const whole = await model.invoke(prompt);
    const pieces = [];
    let sum;
    for await (const chunk of await model.stream(prompt)) {
      if (chunk.text) pieces.push(chunk.text);
      sum = sum ? sum.concat(chunk) : chunk;
    }
    assert.equal(pieces.join(''), whole.text);
    assert.ok(pieces.length > 3, `${pieces.length} pieces`);
    assert.deepEqual(sum.usage_metadata.output_tokens, whole.usage_metadata.output_tokens);
  });

  test('batch', async () => {
    const answers = await model.batch(['One?', 'Two?', 'Three?']);
    assert.equal(answers.length, 3);
    assert.ok(answers.every((a) => a.text.length > 0));
  });

  test('tools, whole and streamed, and the answer to their result', async () => {
    const bound = model.bindTools([weather]);
    const question = new HumanMessage('What is the weather?');
    const answer = await bound.invoke([question]);
    assertCall(answer.tool_calls);

    let sum;
    for await (const chunk of await bound.stream([question])) sum = sum ? sum.concat(chunk) : chunk;
    assertCall(sum.tool_calls);

    const result = await weather.invoke(answer.tool_calls[0]);
    assert.ok(ToolMessage.isInstance(result));
    const said = await bound.invoke([question, answer, result]);
    assert.ok(said.text.length > 0);
    assert.deepEqual(said.tool_calls, []);
  });

  test('structured output, by schema and by tool', async () => {
    for (const method of ['jsonSchema', 'functionCalling']) {
      const object = await model.withStructuredOutput(review, { name: 'review', method }).invoke('Review this essay.');
      assert.deepEqual(review.parse(object), object, method);
    }
  });

  test('embeddings', async () => {
    const embeddings = openAIEmbeddings(gateway);
    const one = await embeddings.embedQuery('one river');
    assert.equal(one.length, 256);
    const [same, another] = await embeddings.embedDocuments(['one river', 'another river']);
    assert.deepEqual(same, one);
    assert.notDeepEqual(another, one);
  });
});

function assertCall(calls) {
  assert.equal(calls.length, 1);
  assert.equal(calls[0].name, 'weather');
  assert.equal(typeof calls[0].args.city, 'string');
  assert.ok(Number.isInteger(calls[0].args.days));
}

describe('langchain: aborts and timeouts', { concurrency: true, timeout: 30_000 }, () => {
  test('of a running request', async (t) => {
    const gateway = await start(t, { judge: lasting });
    const controller = new AbortController();
    const failed = rejection(chatOpenAI(gateway, { maxRetries: 2 }).invoke('Tell me all.', { signal: controller.signal }));
    await untilStats(gateway, (s) => s.in_flight === 1);
    controller.abort();
    assert.match((await failed).message, /abort/i);
    const stats = await untilStats(gateway, (s) => s.in_flight === 0 && s.aborted === 1);
    assert.equal(stats.requests, 1);
  });

  test('of a stream', async (t) => {
    const gateway = await start(t, { judge: lasting });
    const controller = new AbortController();
    const failed = rejection((async () => {
      let pieces = 0;
      for await (const chunk of await chatOpenAI(gateway).stream('Tell me all.', { signal: controller.signal })) {
        if (chunk.text && ++pieces === 3) controller.abort();
      }
    })());
    assert.match((await failed).message, /abort/i);
    const stats = await untilStats(gateway, (s) => s.in_flight === 0 && s.aborted === 1);
    assert.equal(stats.requests, 1);
  });

  test('of a queued request: it never reaches the provider', async (t) => {
    const gateway = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '1' }, judge: lasting });
    const seat = await occupy(gateway);
    const controller = new AbortController();
    const raw = recordingFetch();
    const model = chatOpenAI(gateway, { fetch: raw.fetch, maxTokens: 5 });
    const failed = rejection(model.invoke('I wait.', { signal: controller.signal }));
    await until(() => raw.calls.length === 1, 'the request is sent');
    setTimeout(() => controller.abort(), 500);
    assert.match((await failed).message, /abort/i);
    await seat.release();
    assert.ok((await model.invoke('And me?')).text.length > 0);
    assert.equal((await gateway.stats()).accepted, 2);
  });

  test('of a client that waits no longer for a slow answer', async (t) => {
    const gateway = await start(t, { judge: lasting });
    const error = await rejection(chatOpenAI(gateway, { timeout: 1_500 }).invoke('Tell me all.'));
    assert.equal(error.name, 'TimeoutError', `${error}`);
    await untilStats(gateway, (s) => s.in_flight === 0 && s.aborted === 1);
  });
});

describe('langchain: errors', { concurrency: true, timeout: 60_000 }, () => {
  let gateway;
  before(async () => {
    gateway = await start(null, { env: { CIRCUIT_BREAKER_FAILURE_THRESHOLD: '100' } });
  });
  after(() => gateway.stop());

  // What asking again cannot mend is asked once.
  for (const [model, name, status] of [
    ['sim-400', 'BadRequestError', 400],
    ['sim-context', 'ContextOverflowError'],
    ['sim-404', 'NotFoundError', 404],
    ['sim-insufficient_quota', 'InsufficientQuotaError', 429],
  ]) {
    test(`${model} is final`, async () => {
      const raw = recordingFetch();
      const error = await rejection(chatOpenAI(gateway, { model, maxRetries: 3, fetch: raw.fetch }).invoke('Hello'));
      assert.ok(error.name === name || error.constructor.name === name, `${error.name} ${error.constructor.name}: ${error.message}`);
      if (status) assert.equal(error.status, status);
      assert.equal(raw.calls.length, 1);
    });
  }

  // What is temporary is asked again until it is too much, and then still called what it is.
  for (const [model, type, status] of [
    ['sim-500', OpenAI.InternalServerError, 502],
    ['sim-503', OpenAI.InternalServerError, 503],
  ]) {
    test(`${model} is temporary`, async () => {
      const raw = recordingFetch();
      const error = await rejection(chatOpenAI(gateway, { model, maxRetries: 1, fetch: raw.fetch }).invoke('Hello'));
      assert.ok(error instanceof type, `${error.constructor.name}: ${error.message}`);
      assert.deepEqual(raw.calls.map((c) => c.status), [status, status]);
    });
  }

  test('a failure that passes is not seen', async (t) => {
    const flaky = await start(t, { env: { CIRCUIT_BREAKER_FAILURE_THRESHOLD: '100' } });
    await flaky.fault(outage);
    const raw = recordingFetch();
    const answer = await chatOpenAI(flaky, { maxRetries: 4, fetch: raw.fetch }).invoke('Hello');
    assert.ok(answer.text.length > 0);
    assert.equal(raw.calls[0].status, 503);
    assert.equal(raw.calls.at(-1).status, 200);
  });

  test('a hold that ends is a wait to it, not a lack of capacity or money', async (t) => {
    const held = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '1' }, routes: '[{model: "*", upstreams: [main], hold: 2s}]', judge: lasting });
    const seat = await occupy(held);
    const raw = recordingFetch();
    const error = await rejection(chatOpenAI(held, { fetch: raw.fetch }).invoke('I wait.'));
    assert.ok(error instanceof OpenAI.RateLimitError, `${error}`);
    assert.equal(error.rateLimitType, 'wait');
    assert.equal(error.retryAfterMs, 1000 * Number(raw.calls[0].headers.get('retry-after')));
    await seat.release();
  });
});
