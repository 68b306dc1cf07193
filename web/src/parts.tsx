// Small parts that several pages use.

import type { ComponentChildren } from "preact";
import { count, span } from "./format";

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

/** A bar of parts of a whole; the numbers stand beside it. */
export function Bar({ parts, whole }: { parts: { kind: string; size: number }[]; whole: number }) {
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
    </svg>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <p class="empty">{children}</p>;
}
