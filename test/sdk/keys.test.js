// A gateway with keys, as the OpenAI SDK meets it. The keys are made as an operator makes them.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import OpenAI from 'openai';
import { join, recordingFetch, rejection, say, start } from './harness.js';

const hello = (more = {}) => say('Hello', { max_tokens: 5, ...more });

describe('keys', { timeout: 60_000 }, () => {
  let gateway;
  let ann;
  let bob;
  before(async () => {
    gateway = await start(null, { keys: { ann: [], bob: ['--models', 'sim-small,other-*', '--classes', 'chat'] } });
    ({ ann, bob } = gateway.keys);
  });
  after(() => gateway.stop());

  const as = (apiKey, options = {}) => gateway.client({ apiKey, ...options });

  test('are 256 bits and differ', () => {
    for (const key of [ann, bob]) assert.match(key, /^sk-mr-[0-9A-Za-z]{43}$/);
    assert.notEqual(ann, bob);
  });

  test('the right one opens chats, streams, embeddings and models', async () => {
    const client = as(ann);
    assert.ok((await client.chat.completions.create(hello())).choices[0].message.content.length > 0);
    assert.ok((await join(await client.chat.completions.create(hello({ stream: true })))).text.length > 0);
    assert.ok((await client.embeddings.create({ model: 'sim-embedding', input: 'Hello' })).data[0].embedding.length > 0);
    assert.ok((await client.models.list()).data.length > 0);
  });

  for (const [name, key] of [
    ['a wrong one', () => 'sk-mr-' + '0'.repeat(43)],
    ['one with another last letter', () => ann.slice(0, -1) + (ann.endsWith('a') ? 'b' : 'a')],
    ['one without its last letter', () => ann.slice(0, -1)],
    ['two in one', () => `${ann}, ${bob}`],
  ]) {
    for (const stream of [false, true]) {
      test(`${name} is an AuthenticationError, asked once${stream ? ', before a stream' : ''}`, async () => {
        const raw = recordingFetch();
        const error = await rejection(as(key(), { maxRetries: 2, fetch: raw.fetch }).chat.completions.create(hello({ stream })));
        assert.ok(error instanceof OpenAI.AuthenticationError, `${error.constructor.name}: ${error.message}`);
        assert.equal(error.status, 401);
        assert.equal(error.code, 'invalid_api_key');
        assert.equal(error.type, 'invalid_request_error');
        assert.ok(!error.message.includes(key()), 'the message repeats the key');
        assert.equal(raw.calls.length, 1);
      });
    }
  }

  test('a missing one is an AuthenticationError', async () => {
    const error = await rejection(as(ann, { defaultHeaders: { Authorization: null } }).chat.completions.create(hello()));
    assert.ok(error instanceof OpenAI.AuthenticationError, `${error.constructor.name}: ${error.message}`);
    assert.equal(error.status, 401);
    assert.equal(error.code, 'invalid_api_key');
    for (const call of [(c) => c.models.list(), (c) => c.embeddings.create({ model: 'sim-embedding', input: 'Hello' })]) {
      assert.equal((await rejection(call(as(ann, { defaultHeaders: { Authorization: null } })))).status, 401);
    }
  });

  test("another service's header does as well", async () => {
    const client = as('unused', { defaultHeaders: { Authorization: null, 'api-key': ann } });
    assert.ok((await client.chat.completions.create(hello())).choices[0].message.content.length > 0);
  });

  test("a model that is not the key's is a NotFoundError, and never reaches the provider", async () => {
    const { requests } = await gateway.stats();
    for (const stream of [false, true]) {
      const error = await rejection(as(bob).chat.completions.create(hello({ model: 'sim-secret', stream })));
      assert.ok(error instanceof OpenAI.NotFoundError, `${error.constructor.name}: ${error.message}`);
      assert.equal(error.status, 404);
      assert.equal(error.code, 'model_not_found');
    }
    assert.ok((await rejection(as(bob).models.retrieve('sim-secret'))) instanceof OpenAI.NotFoundError);
    assert.ok((await rejection(as(bob).embeddings.create({ model: 'sim-embedding', input: 'x' }))) instanceof OpenAI.NotFoundError);
    assert.equal((await gateway.stats()).requests, requests);
    assert.ok((await as(bob).models.list()).data.every((m) => m.id === 'sim-small' || m.id.startsWith('other-')));
  });

  test('models of the key are there', async () => {
    for (const model of ['sim-small', 'other-1']) {
      assert.ok((await as(bob).chat.completions.create(hello({ model }))).choices[0].message.content.length > 0, model);
    }
  });
});
