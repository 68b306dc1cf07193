// Clients that have to wait are held, not refused. One request a 20 s is allowed, so of three at once the second waits
// about 20 s and the third about 40 s.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { join, recordingFetch, say, start } from './harness.js';

describe('held in the queue', { timeout: 90_000 }, () => {
  test('a plain request for 20 s and a stream for 40 s, with comments', async (t) => {
    const gateway = await start(t, { quota: { MAX_REQUESTS_PER_MINUTE: '3' } });
    const from = performance.now();
    const seconds = () => (performance.now() - from) / 1000;

    await gateway.client().chat.completions.create(say('First.'));
    assert.ok(seconds() < 5, `the first took ${seconds()} s`);

    const client = gateway.client({ timeout: 80_000 });
    const plain = client.chat.completions.create(say('Second.')).then((answer) => ({ answer, at: seconds() }));
    await new Promise((resolve) => setTimeout(resolve, 500)); // so that it stands before the stream

    const raw = recordingFetch();
    const streaming = gateway.client({ timeout: 80_000, fetch: raw.fetch });
    const stream = await streaming.chat.completions.create(say('Third.', { stream: true }));
    const opened = seconds();

    const second = await plain;
    assert.ok(second.answer.choices[0].message.content.length > 0);
    assertBetween(second.at, 17, 26, 'the plain request was answered');

    const { text } = await join(stream);
    assertBetween(seconds(), 36, 50, 'the stream was answered');
    assertBetween(opened, 3, 10, 'the stream was opened');
    assert.ok(text.length > 0);
    assertHeld(raw);
  });
});

function assertBetween(got, low, high, what) {
  assert.ok(got >= low && got <= high, `${what} after ${got.toFixed(1)} s, want ${low} to ${high}`);
}

// While it waited the stream was told where it stood by comments that the SDK did not see, at least every 11 s, and by
// nothing else.
function assertHeld(raw) {
  const answered = raw.pieces.findIndex((p) => p.text.includes('data:'));
  const waiting = raw.pieces.slice(0, answered);
  const comments = waiting.map((p) => p.text).join('').split('\n').filter((line) => line !== '');
  assert.ok(comments.length >= 3, `${comments.length} comments`);
  for (const line of comments) {
    assert.match(line, /^: queued position=\d+ eta=\d+(\.\d+)?s reason=[a-z_]+$/);
  }
  for (const [i, piece] of raw.pieces.slice(1, answered + 1).entries()) {
    const gap = piece.after - raw.pieces[i].after;
    assert.ok(gap < 11_000, `${(gap / 1000).toFixed(1)} s without a byte`);
  }
}
