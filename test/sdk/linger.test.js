// A client that gives up and asks again says neither when it will give up nor that it is the same.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { chatOpenAI, clients } from './clients.js';
import { lasting, occupy, recordingFetch, say, start, until } from './harness.js';

const [other] = clients;

describe('the place of a client that asks again without a word', { concurrency: true, timeout: 60_000 }, () => {
  const impatient = {
    openai: (gateway, prompt, fetch) => gateway.client({ timeout: 3_000, maxRetries: 3, fetch }).chat.completions.create(say(prompt, { max_tokens: 5 })),
    langchain: (gateway, prompt, fetch) => chatOpenAI(gateway, { timeout: 3_000, maxRetries: 3, maxTokens: 5, fetch }).invoke(prompt),
  };
  for (const [name, ask] of Object.entries(impatient)) {
    test(`${name} has it still`, async (t) => {
      const gateway = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '1' }, judge: lasting });
      const seat = await occupy(gateway);
      const order = [];

      const mine = recordingFetch();
      const first = ask(gateway, 'I came first.', mine.fetch).then(() => order.push('first'));
      await until(() => mine.calls.length === 1, 'the first request is sent');
      await pause(500); // so that it stands before the other
      const second = other.stream(gateway, 'I came later.').then(() => order.push('second'));
      await until(() => mine.calls.length === 2, 'the first request comes again');
      await pause(500); // so that it is in line when the seat is left
      await seat.release();

      await Promise.all([first, second]);
      assert.deepEqual(order, ['first', 'second']);
      assert.equal(mine.calls[0].status, undefined, 'the first try was given up');
      assert.equal(mine.calls[1].status, 200, 'the second try');
      assert.equal((await gateway.stats()).accepted, 3);
    });
  }
});
