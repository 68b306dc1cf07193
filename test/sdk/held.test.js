// Clients that have to wait are held, not refused: a plain request in silence, a stream with comments that its client
// does not see.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { clients } from './clients.js';
import { join, lasting, occupy, recordingFetch, say, start, untilStats } from './harness.js';

describe('held in the queue', { concurrency: true, timeout: 120_000 }, () => {
  for (const client of clients) {
    test(`${client.name}: a plain request and a stream for 40 s, until seats are free`, async (t) => {
      const gateway = await start(t, { quota: { MAX_CONCURRENT_REQUESTS: '2' }, judge: lasting });
      const seats = await Promise.all([occupy(gateway), occupy(gateway)]);

      const silent = recordingFetch();
      const plain = client.ask(gateway, 'I wait.', { fetch: silent.fetch });
      const told = recordingFetch();
      const stream = client.stream(gateway, 'I wait, too.', { fetch: told.fetch });
      await pause(40_500); // from before they are sent
      assert.equal((await gateway.stats()).accepted, 2);
      await Promise.all(seats.map((seat) => seat.release()));

      assert.ok((await plain).length > 0);
      assert.ok((await stream).length > 0);
      for (const raw of [silent, told]) {
        assert.equal(raw.calls.length, 1, 'held, not sent away');
        assert.equal(raw.calls[0].status, 200);
        const answered = raw.pieces.find((p) => !/^(: .*\n|\n)+$/.test(p.text)).at - raw.calls[0].sent;
        assertBetween(answered / 1000, 40, 60, 'answered');
      }
      assert.ok(silent.calls[0].answered - silent.calls[0].sent > 40_000, 'the header of a plain answer came early');
      assertBetween((told.calls[0].answered - told.calls[0].sent) / 1000, 4.9, 15, 'the stream was opened');
      assertHeld(told, '(seats|turn)');

      const stats = await untilStats(gateway, (s) => s.in_flight === 0);
      assert.equal(stats.accepted, 4);
      assert.equal(stats.throttled, 0);
    });
  }

  // One request a 20 s is allowed, so of three at once the second waits about 20 s and the third about 40 s.
  test('openai: a plain request for 20 s and a stream for 40 s, until the minute allows them', async (t) => {
    const gateway = await start(t, { quota: { MAX_REQUESTS_PER_MINUTE: '3' } });
    const from = performance.now();
    const seconds = () => (performance.now() - from) / 1000;

    await gateway.client().chat.completions.create(say('First.'));
    assert.ok(seconds() < 5, `the first took ${seconds()} s`);

    const client = gateway.client({ timeout: 80_000 });
    const plain = client.chat.completions.create(say('Second.')).then((answer) => ({ answer, at: seconds() }));
    await pause(500); // so that it stands before the stream

    const raw = recordingFetch();
    const streaming = gateway.client({ timeout: 80_000, fetch: raw.fetch });
    const stream = await streaming.chat.completions.create(say('Third.', { stream: true }));
    const opened = seconds();

    const second = await plain;
    assert.ok(second.answer.choices[0].message.content.length > 0);
    assertBetween(second.at, 17, 35, 'the plain request was answered');

    const { text } = await join(stream);
    assertBetween(seconds(), 36, 65, 'the stream was answered');
    assertBetween(opened, 3, 15, 'the stream was opened');
    assert.ok(text.length > 0);
    assertHeld(raw, '[a-z_]+');
  });
});

function assertBetween(got, low, high, what) {
  assert.ok(got >= low && got <= high, `${what} after ${got.toFixed(1)} s, want ${low} to ${high}`);
}

// While it waited the stream was told where it stood by comments that the SDK did not see, at least every 15 s, and by
// nothing else.
function assertHeld(raw, reason) {
  const answered = raw.pieces.findIndex((p) => p.text.includes('data:'));
  const waiting = raw.pieces.slice(0, answered);
  const comments = waiting.map((p) => p.text).join('').split('\n').filter((line) => line !== '');
  assert.ok(comments.length >= 3, `${comments.length} comments`);
  for (const line of comments) {
    assert.match(line, new RegExp(`^: queued position=\\d+ eta=\\d+(\\.\\d+)?s reason=${reason}$`));
  }
  for (const [i, piece] of raw.pieces.slice(1, answered + 1).entries()) {
    const gap = piece.at - raw.pieces[i].at;
    assert.ok(gap < 15_000, `${(gap / 1000).toFixed(1)} s without a byte`);
  }
}
