// What a client gets when all is well.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { zodResponseFormat } from 'openai/helpers/zod';
import { z } from 'zod';
import { join, say, start } from './harness.js';

describe('answers', { concurrency: true, timeout: 30_000 }, () => {
  let gateway;
  let client;
  before(async () => {
    gateway = await start(null);
    client = gateway.client();
  });
  after(() => gateway.stop());

  test('chat', async () => {
    const answer = await client.chat.completions.create(say('What turns a mill wheel?'));
    assert.equal(answer.object, 'chat.completion');
    assert.equal(answer.choices[0].message.role, 'assistant');
    assert.ok(answer.choices[0].message.content.length > 20);
    assert.equal(answer.choices[0].finish_reason, 'stop');
    assert.ok(answer.usage.prompt_tokens > 0);
    assert.equal(answer.usage.total_tokens, answer.usage.prompt_tokens + answer.usage.completion_tokens);
  });

  test('a stream is the same text, piece by piece', async () => {
    const whole = await client.chat.completions.create(say('Tell me about rivers.'));
    const { text, chunks } = await join(await client.chat.completions.create(say('Tell me about rivers.', { stream: true })));
    assert.equal(text, whole.choices[0].message.content);
    assert.ok(chunks.length > 5, `${chunks.length} chunks`);
    assert.equal(new Set(chunks.map((c) => c.id)).size, 1);
    assert.equal(chunks.at(-1).choices[0].finish_reason, 'stop');
  });

  test('a stream tells its usage if asked', async () => {
    const asked = say('How deep is it?', { stream: true, stream_options: { include_usage: true } });
    const { chunks } = await join(await client.chat.completions.create(asked));
    const told = chunks.filter((c) => c.usage);
    assert.equal(told.length, 1);
    assert.deepEqual(told[0].choices, []);
    assert.ok(told[0].usage.completion_tokens > 0);
    assert.equal(told[0], chunks.at(-1));
  });

  test('a stream tells no usage if not asked', async () => {
    for (const options of [{}, { stream_options: { include_usage: false } }]) {
      const { chunks } = await join(await client.chat.completions.create(say('How wide is it?', { stream: true, ...options })));
      assert.deepEqual(chunks.filter((c) => c.usage), []);
      assert.deepEqual(chunks.filter((c) => c.choices.length === 0), []);
    }
  });

  test('the stream helper of the SDK', async () => {
    const runner = client.chat.completions.stream(say('And the weather?'));
    let text = '';
    runner.on('content', (delta) => (text += delta));
    assert.equal(await runner.finalContent(), text);
  });

  test('completions of the old form', async () => {
    const answer = await client.completions.create({ model: 'sim-large', prompt: 'Water is', max_tokens: 20 });
    assert.ok(answer.choices[0].text.length > 0);
  });

  test('embeddings, as base64 by default and as floats', async () => {
    const input = ['one river', 'another river'];
    const packed = await client.embeddings.create({ model: 'sim-embedding', input });
    const plain = await client.embeddings.create({ model: 'sim-embedding', input, encoding_format: 'float' });
    assert.deepEqual(packed.data.map((d) => d.index), [0, 1]);
    for (const [i, { embedding }] of packed.data.entries()) {
      assert.equal(embedding.length, 256);
      assert.ok(embedding.every((x, j) => Math.abs(x - plain.data[i].embedding[j]) < 1e-5), `embedding ${i} differs between the formats`);
    }
    assert.notDeepEqual(packed.data[0].embedding, packed.data[1].embedding);
    assert.ok(packed.usage.prompt_tokens > 0);
  });

  test('models', async () => {
    const models = [];
    for await (const model of client.models.list()) models.push(model);
    assert.ok(models.length > 0);
    assert.ok(models.every((m) => m.object === 'model' && m.id !== ''));
  });

  const weather = {
    type: 'function',
    function: {
      name: 'weather',
      parameters: { type: 'object', properties: { city: { type: 'string' }, days: { type: 'integer' } }, required: ['city', 'days'] },
    },
  };

  test('tools, whole and streamed', async () => {
    const asked = say('What is the weather?', { tools: [weather] });
    const answer = await client.chat.completions.create(asked);
    assert.equal(answer.choices[0].finish_reason, 'tool_calls');
    const [call] = answer.choices[0].message.tool_calls;
    assert.equal(call.function.name, 'weather');
    assertWeather(call.function.arguments);

    const streamed = await client.chat.completions.stream(asked).finalChatCompletion();
    assertWeather(streamed.choices[0].message.tool_calls[0].function.arguments);

    const result = { role: 'tool', tool_call_id: call.id, content: '{"celsius":12}' };
    const said = await client.chat.completions.create({ ...asked, messages: [...asked.messages, answer.choices[0].message, result] });
    assert.ok(said.choices[0].message.content.length > 0);
  });

  test('structured output', async () => {
    const schema = {
      type: 'object',
      properties: {
        verdict: { type: 'string', enum: ['good', 'bad'] },
        score: { type: 'integer', minimum: 1, maximum: 5 },
        notes: { type: 'array', items: { type: 'string' } },
      },
      required: ['verdict', 'score', 'notes'],
      additionalProperties: false,
    };
    const response_format = { type: 'json_schema', json_schema: { name: 'review', strict: true, schema } };
    const answer = await client.chat.completions.create(say('Review this essay.', { response_format }));
    const review = JSON.parse(answer.choices[0].message.content);
    assert.deepEqual(Object.keys(review).sort(), ['notes', 'score', 'verdict']);
    assert.ok(['good', 'bad'].includes(review.verdict));
    assert.ok(Number.isInteger(review.score) && review.score >= 1 && review.score <= 5);
    assert.ok(review.notes.every((n) => typeof n === 'string'));
  });

  test('tools that the SDK runs itself', async () => {
    const asked = [];
    const runner = client.chat.completions.runTools(say('What is the weather?', {
      tools: [{ ...weather, function: { ...weather.function, parse: JSON.parse, function: (input) => (asked.push(input), { celsius: 12 }) } }],
    }));
    assert.ok((await runner.finalContent()).length > 0);
    assert.equal(asked.length, 1);
    assertWeather(JSON.stringify(asked[0]));
  });

  test('structured output that the SDK parses itself, whole and streamed', async () => {
    const schema = z.object({ verdict: z.enum(['good', 'bad']), score: z.number().int(), notes: z.array(z.string()) });
    const asked = say('Review this essay.', { response_format: zodResponseFormat(schema, 'review') });
    for (const answer of [await client.chat.completions.parse(asked), await client.chat.completions.stream(asked).finalChatCompletion()]) {
      const { parsed } = answer.choices[0].message;
      assert.deepEqual(schema.parse(parsed), parsed);
    }
  });

  test('the response names its request and says who answered', async () => {
    const { response, request_id } = await client.chat.completions.create(say('Who are you?')).withResponse();
    assert.ok(response.headers.get('millrace-request-id'));
    assert.ok(request_id, 'the SDK finds x-request-id');
    assert.equal(response.headers.get('millrace-attempts'), '1');
    assert.ok(response.headers.get('millrace-upstream'));
  });
});

function assertWeather(text) {
  const given = JSON.parse(text);
  assert.equal(typeof given.city, 'string');
  assert.ok(Number.isInteger(given.days));
}

describe('the simulator inside the gateway', { timeout: 30_000 }, () => {
  test('answers without any key or upstream', async (t) => {
    const gateway = await start(t, { judge: false });
    const { text } = await join(await gateway.client().chat.completions.create(say('Hello', { stream: true })));
    assert.ok(text.length > 0);
  });
});
