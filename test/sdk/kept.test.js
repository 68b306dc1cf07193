// A hold that has to end: the client is told when to come back, comes back by itself, and stands where it stood.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { clients } from './clients.js';
import { assertCameBackWhenTold, lasting, occupy, recordingFetch, start, until } from './harness.js';

// One seat, taken for as long as a test wants; plain requests are held for 4 s, streams for as long as it takes.
const tight = { quota: { MAX_CONCURRENT_REQUESTS: '1' }, routes: '[{model: "*", upstreams: [main], hold: 4s}]', judge: lasting };

describe('the place of a hold that ended', { concurrency: true, timeout: 60_000 }, () => {
  for (const client of clients) {
    test(`${client.name} comes back when told, to the place it had`, async (t) => {
      const gateway = await start(t, tight);
      const seat = await occupy(gateway);
      const order = [];

      const mine = recordingFetch();
      const first = client.ask(gateway, 'I came first.', { retries: 4, fetch: mine.fetch }).then((text) => (order.push('first'), text));
      await until(() => mine.calls.length === 1, 'the first request is sent');
      await pause(500); // so that it stands before the other

      const other = recordingFetch();
      const second = client.stream(gateway, 'I came later.', { fetch: other.fetch }).then((text) => (order.push('second'), text));
      await until(() => mine.calls.length === 2, 'the first request comes again');
      await pause(500); // so that it is in line when the seat is left
      await seat.release();

      assert.ok((await first).length > 0);
      assert.ok((await second).length > 0);
      assert.deepEqual(order, ['first', 'second']);
      const begun = other.pieces.find((p) => p.text.includes('data:'));
      assert.ok(begun.at > mine.calls.at(-1).answered, 'the other was served while the first still waited');

      const [refused, again] = mine.calls;
      assert.equal(refused.status, 429);
      assert.ok(refused.answered - refused.sent >= 4_000, `sent away after ${refused.answered - refused.sent} ms`);
      assert.equal(refused.headers.get('x-should-retry'), 'true');
      assertCameBackWhenTold(refused, again, client.coarse);
      assert.equal(again.status, 200, 'the second try');
      assert.equal(other.calls.length, 1, 'the other was held, not sent away');
      assert.ok(other.calls[0].sent < mine.calls[0].answered, 'the other arrived before the first was sent away');
      const stats = await gateway.stats();
      assert.equal(stats.accepted, 3);
      assert.equal(stats.throttled, 0);
    });
  }
});
