// The clients that people use, behind one face: what each of them does in its own way when it waits, is turned away, or
// is told of an error.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { ChatOpenAI, OpenAIEmbeddings } from '@langchain/openai';
import { generateText, streamText } from 'ai';
import OpenAI from 'openai';
import { join, say } from './harness.js';

/** The AI SDK's provider for a gateway. */
export const compatible = (gateway, options = {}) =>
  createOpenAICompatible({ name: 'millrace', baseURL: gateway.baseURL, apiKey: 'sk-client', includeUsage: true, supportsStructuredOutputs: true, ...options });

/** LangChain's chat model for a gateway; fetch is given to the OpenAI client below it. */
export const chatOpenAI = (gateway, { fetch, ...options } = {}) =>
  new ChatOpenAI({ model: 'sim-large', apiKey: 'sk-client', maxRetries: 0, configuration: { baseURL: gateway.baseURL, fetch }, ...options });

/** LangChain's embeddings for a gateway. */
export const openAIEmbeddings = (gateway, options = {}) =>
  new OpenAIEmbeddings({ model: 'sim-embedding', apiKey: 'sk-client', maxRetries: 0, configuration: { baseURL: gateway.baseURL }, ...options });

/**
 * Every client: ask and stream resolve to the text of an answer of at most five tokens, unless full is set. The options
 * are model, fetch, retries and signal. coarse says that a client reads Retry-After alone, not retry-after-ms.
 */
export const clients = [
  {
    name: 'openai',
    ask: async (gateway, prompt, o = {}) => {
      const answer = await openai(gateway, o).chat.completions.create(bounded(prompt, o), { signal: o.signal });
      return answer.choices[0].message.content;
    },
    stream: async (gateway, prompt, o = {}) => {
      const stream = await openai(gateway, o).chat.completions.create({ ...bounded(prompt, o), stream: true }, { signal: o.signal });
      return (await join(stream)).text;
    },
  },
  {
    name: 'ai',
    ask: async (gateway, prompt, o = {}) => (await generateText(forAI(gateway, prompt, o))).text,
    stream: async (gateway, prompt, o = {}) => {
      let text = '';
      // What an application sees of an error is a part of the full stream, not an exception.
      for await (const part of streamText({ ...forAI(gateway, prompt, o), onError: () => {} }).fullStream) {
        if (part.type === 'error') throw part.error;
        if (part.type === 'text-delta') text += part.text;
      }
      return text;
    },
  },
  {
    name: 'langchain',
    coarse: true,
    ask: async (gateway, prompt, o = {}) => (await langchain(gateway, o).invoke(prompt, { signal: o.signal })).text,
    stream: async (gateway, prompt, o = {}) => {
      let text = '';
      for await (const chunk of await langchain(gateway, o).stream(prompt, { signal: o.signal })) text += chunk.text;
      return text;
    },
  },
];

const openai = (gateway, o) => gateway.client({ maxRetries: o.retries ?? 0, timeout: 600_000, fetch: o.fetch });

const bounded = (prompt, o) => say(prompt, { model: o.model ?? 'sim-large', ...(o.full ? {} : { max_tokens: 5 }) });

const forAI = (gateway, prompt, o) => ({
  model: compatible(gateway, { fetch: o.fetch })(o.model ?? 'sim-large'),
  prompt,
  maxRetries: o.retries ?? 0,
  abortSignal: o.signal,
  ...(o.full ? {} : { maxOutputTokens: 5 }),
});

const langchain = (gateway, o) =>
  chatOpenAI(gateway, { model: o.model ?? 'sim-large', maxRetries: o.retries ?? 0, fetch: o.fetch, ...(o.full ? {} : { maxTokens: 5 }) });
