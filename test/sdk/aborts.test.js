// A client that leaves: the provider is let go at once.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import OpenAI from 'openai';
import { join, say, start, untilStats } from './harness.js';

// Answers that take 20 seconds, so that there is time to leave.
const slow = ['--output', '200', '--ttft', '10ms', '--ttft-p95', '20ms', '--per-token', '100ms'];

describe('aborts', { concurrency: true, timeout: 30_000 }, () => {
  test('of a stream', async (t) => {
    const gateway = await start(t, { judge: slow });
    const stream = await gateway.client().chat.completions.create(say('Tell me all.', { stream: true }));
    let chunks = 0;
    for await (const _ of stream) {
      if (++chunks === 3) stream.controller.abort();
    }
    const stats = await untilStats(gateway, (s) => s.in_flight === 0 && s.aborted === 1);
    assert.equal(stats.accepted, 1);
  });

  test('of a plain request', async (t) => {
    const gateway = await start(t, { judge: slow });
    const controller = new AbortController();
    const answer = gateway.client().chat.completions.create(say('Tell me all.'), { signal: controller.signal });
    await untilStats(gateway, (s) => s.in_flight === 1);
    controller.abort();
    await assert.rejects(answer, OpenAI.APIUserAbortError);
    await untilStats(gateway, (s) => s.in_flight === 0 && s.aborted === 1);
  });

  for (const stream of [false, true]) {
    test(`of a queued ${stream ? 'stream' : 'request'}: it never reaches the provider, and the next one does`, async (t) => {
      const gateway = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '1' }, judge: slow });
      const client = gateway.client();
      const first = await client.chat.completions.create(say('I hold the seat.', { stream: true }));

      const controller = new AbortController();
      const second = client.chat.completions.create(say('I wait.', { stream }), { signal: controller.signal });
      const third = client.chat.completions.create(say('I wait too.', { stream: true }));
      setTimeout(() => controller.abort(), 1_000);
      await assert.rejects(second, OpenAI.APIUserAbortError);

      first.controller.abort();
      const { value } = await (await third)[Symbol.asyncIterator]().next();
      assert.equal(value.object, 'chat.completion.chunk');
      const stats = await gateway.stats();
      assert.equal(stats.accepted, 2, 'the first and the third');
      assert.equal(stats.throttled, 0);
    });
  }
});

describe('nobody leaves', { timeout: 30_000 }, () => {
  test('forty clients at ten seats all get their answer', async (t) => {
    const gateway = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '10' }, judge: ['--seats', '10', '--output', '20', '--latency', '200ms'] });
    const client = gateway.client();
    const answers = await Promise.all(Array.from({ length: 40 }, (_, i) => {
      if (i % 2) return client.chat.completions.create(say(`Question ${i}`)).then((a) => a.choices[0].message.content);
      return client.chat.completions.create(say(`Question ${i}`, { stream: true })).then(join).then((a) => a.text);
    }));
    assert.ok(answers.every((text) => text.length > 0));
    const stats = await untilStats(gateway, (s) => s.in_flight === 0);
    assert.equal(stats.answered, 40);
    assert.equal(stats.throttled, 0);
    assert.ok(stats.most_in_flight <= 10, `${stats.most_in_flight} in flight`);
  });
});
