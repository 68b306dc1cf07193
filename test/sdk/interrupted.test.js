// A provider that fails when status and header are long sent: every client raises an error with the words of the error
// frame, does not ask again by itself, and takes no piece for the whole.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { clients } from './clients.js';
import { lasting, occupy, recordingFetch, rejection, start, until, untilStats } from './harness.js';

// How each client tells of an error frame: the OpenAI SDK, and LangChain above it, by its own type; the AI SDK by the
// frame's error as the provider sent it, in a part of the stream.
function assertTold(client, error, { message, type, code }) {
  if (client.name !== 'ai') assert.ok(error instanceof OpenAI.APIError, `${error}`);
  assert.match(error.message, message);
  assert.equal(error.type, type);
  assert.equal(error.code, code);
}

describe('streams that break off', { concurrency: true, timeout: 60_000 }, () => {
  let gateway;
  before(async () => {
    gateway = await start(null, { env: { CIRCUIT_BREAKER_FAILURE_THRESHOLD: '100' } });
  });
  after(() => gateway.stop());

  for (const client of clients) {
    for (const [fault, told] of [
      ['error-frame', { message: /had an error while processing/, type: 'server_error', code: null }],
      ['cut', { message: /upstream failed to answer/, type: 'server_error', code: 'upstream_error' }],
    ]) {
      test(`${client.name}: ${fault} in the midst of an answer`, async () => {
        const raw = recordingFetch();
        const error = await rejection(client.stream(gateway, 'Tell me all.', { model: `sim-${fault}`, fetch: raw.fetch, full: true, retries: 2 }));
        assertTold(client, error, told);
        assert.deepEqual(raw.calls.map((c) => c.status), [200]);
        assert.match(raw.text(), /"content":"\w+/, 'a piece came before the error');
        assert.doesNotMatch(raw.text(), /\[DONE\]|"finish_reason":"/);
      });
    }
  }
});

describe('streams whose provider fails after they were held', { concurrency: true, timeout: 60_000 }, () => {
  for (const client of clients) {
    test(client.name, async (t) => {
      const gateway = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '1' }, env: { CIRCUIT_BREAKER_FAILURE_THRESHOLD: '100' }, judge: lasting });
      const seat = await occupy(gateway);
      const raw = recordingFetch();
      const failed = rejection(client.stream(gateway, 'I wait.', { model: 'sim-500', fetch: raw.fetch, retries: 2 }));
      await until(() => raw.calls[0]?.status === 200, 'the stream is opened');
      await seat.release();

      assertTold(client, await failed, { message: /upstream failed to answer/, type: 'server_error', code: 'upstream_error' });
      assert.equal(raw.calls.length, 1);
      assert.match(raw.text(), /^: queued position=/);
      const stats = await untilStats(gateway, (s) => s.in_flight === 0);
      assert.ok(stats.statuses['500'] >= 1, JSON.stringify(stats.statuses));
    });
  }
});
