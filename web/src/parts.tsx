// Small parts that several pages use.

import type { ComponentChildren } from "preact";
import { signal } from "@preact/signals";
import { post, words } from "./api";
import { count, span } from "./format";
import { refresh, session } from "./store";

/** A number that programs can read, too. */
export function Num({ of, is }: { of: number; is?: string }) {
  return <data class="num" value={String(of)}>{is ?? count(of)}</data>;
}

export function Span({ ms }: { ms: number }) {
  return <Num of={ms} is={span(ms)} />;
}

/** A state: an icon and a word, never color alone. */
export function Pill({ kind, children }: { kind: "good" | "busy" | "bad" | "plain"; children: ComponentChildren }) {
  const icon = { good: "✓", busy: "◷", bad: "✕", plain: "•" }[kind];
  return (
    <span class={`pill ${kind}`}>
      <span aria-hidden="true">{icon}</span> {children}
    </span>
  );
}

/** A table that scrolls by itself where it does not fit, by keyboard, too. */
export function Table({ label, children, className }: { label: string; children: ComponentChildren; className?: string }) {
  return (
    <div class="scroll" role="region" aria-label={`Table: ${label}`} tabIndex={0}>
      <table class={className}>{children}</table>
    </div>
  );
}

/** A bar of parts of a whole, with a mark somewhere; the numbers stand beside it. */
export function Bar({ parts, whole, mark }: { parts: { kind: string; size: number }[]; whole: number; mark?: number }) {
  let at = 0;
  return (
    <svg class="bar" viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
      <rect class="free" x="0" y="0" width="1000" height="10" />
      {parts.map(({ kind, size }) => {
        const x = at;
        const width = whole > 0 ? Math.min(1000 - x, (1000 * Math.max(size, 0)) / whole) : 0;
        at += width;
        return <rect key={kind} class={kind} x={x} y="0" width={width} height="10" />;
      })}
      {mark !== undefined && <rect class="mark" x={Math.min((1000 * mark) / whole, 985)} y="0" width="15" height="10" />}
    </svg>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}

interface Word {
  about: string; // what the word stands beside
  text: string;
  bad: boolean;
}

/** What the last action has led to. */
export const told = signal<Word | null>(null);

/** Does something, shows its effect and says that it is done. */
export async function carryOut<T>(about: string, path: string, body: unknown, done: (answer: T | null) => string): Promise<void> {
  try {
    const text = done(await post<T>(path, body));
    await refresh();
    told.value = { about, text, bad: false };
  } catch (error) {
    told.value = { about, text: words(error), bad: true };
  }
  requestAnimationFrame(() => {
    // The button that had the focus may be gone.
    if (document.activeElement === document.body) document.getElementById("main")?.focus({ preventScroll: true });
  });
}

export function Told({ about }: { about: string }) {
  const word = told.value?.about === about ? told.value : null;
  return <p class="answer" role="status">{word && <span class={word.bad ? "wrong" : ""}>{word.text}</span>}</p>;
}

/** Says why buttons are missing to those who only look. */
export function Looker({ what }: { what: string }) {
  const s = session.value;
  if (!s?.in || s.acts) return null;
  return <p class="looker"><Pill kind="plain">viewer</Pill> The key {s.name} may look. To {what}, log in with an operator’s key.</p>;
}

/** A course of numbers without axes; the last one stands beside it. */
export function Spark({ points, label }: { points: number[]; label: string }) {
  const most = Math.max(...points, 0);
  const x = (i: number) => ((i / Math.max(points.length - 1, 1)) * 200).toFixed(1);
  const y = (v: number) => (most > 0 ? 38 - (36 * v) / most : 38).toFixed(1);
  const path = points.map((v, i) => `${i ? "L" : "M"}${x(i)} ${y(v)}`).join("");
  return (
    <svg class="spark" viewBox="0 0 200 40" preserveAspectRatio="none" role="img" aria-label={label}>
      {points.length > 1 && <path class="under" d={`${path}L200 40L0 40Z`} />}
      {points.length > 1 && <path class="course" d={path} vector-effect="non-scaling-stroke" />}
    </svg>
  );
}
