// What the pages show, and how it gets here: one stream of events, or polling
// while there is none.

import { signal } from "@preact/signals";
import { get, Refusal, streamURL } from "./api";
import type { Session, State } from "./types";

export type Link = "connecting" | "live" | "polling" | "down";

export const state = signal<State | null>(null);
export const session = signal<Session | null>(null);
export const link = signal<Link>("connecting");
export const paused = signal(false);

const pollEvery = 5_000;
const streamAgain = 20_000;
const staleAfter = 4_000;

let source: EventSource | null = null;
let poller = 0;
let retry = 0;
let watch = 0;
let heard = 0;
let held: State | null = null; // what came while paused

function take(next: State): void {
  // One that was asked for may have overtaken one of the stream.
  if (held && held.started === next.started && next.seq < held.seq) return;
  held = next;
  if (!paused.value) state.value = next;
}

/** Stops or resumes what changes by itself. */
export function togglePause(): void {
  paused.value = !paused.value;
  if (!paused.value && held) state.value = held;
}

/** Shows at once what an action has done. */
export async function refresh(): Promise<void> {
  try {
    take(await get<State>("state"));
  } catch {
    // The next frame will show it.
  }
}

/** Learns who looks, and begins to listen if that one may. */
export async function begin(): Promise<void> {
  try {
    session.value = await get<Session>("session");
    if (session.value.in) listen();
    else stop();
  } catch {
    link.value = "down";
    retry = window.setTimeout(begin, pollEvery);
  }
}

/** Ends all that runs by itself. */
export function stop(): void {
  source?.close();
  source = null;
  clearTimeout(poller);
  poller = 0;
  clearTimeout(retry);
  clearInterval(watch);
}

function listen(): void {
  stop();
  heard = Date.now();
  source = new EventSource(streamURL);
  source.onmessage = (event) => {
    heard = Date.now();
    link.value = "live";
    clearTimeout(poller);
    poller = 0;
    take(JSON.parse(event.data as string) as State);
  };
  source.onerror = () => {
    if (source?.readyState === EventSource.CLOSED) fallBack();
  };
  watch = window.setInterval(() => {
    if (Date.now() - heard > staleAfter && !poller) fallBack();
  }, 1_000);
}

/** The stream is broken: ask every few seconds, and try the stream now and then. */
function fallBack(): void {
  source?.close();
  source = null;
  clearInterval(watch);
  if (!poller) void poll();
  clearTimeout(retry);
  retry = window.setTimeout(listen, streamAgain);
}

async function poll(): Promise<void> {
  try {
    take(await get<State>("state"));
    link.value = "polling";
  } catch (error) {
    link.value = "down";
    if (error instanceof Refusal && error.status === 401) {
      state.value = null;
      await begin();
      return;
    }
  }
  poller = window.setTimeout(poll, pollEvery);
}
