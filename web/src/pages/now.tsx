import type { State } from "../types";
import { WaitChart } from "../chart";
import { moment } from "../format";
import { Num, Span } from "../parts";
import { useEffect, useRef } from "preact/hooks";
import { signal } from "@preact/signals";

const spoken = signal("");

/** The verdict: seen at once, and told to screen readers at most every 10 s. */
function Verdict({ verdict }: { verdict: State["verdict"] }) {
  const last = useRef(0);
  const words = { good: "All is well", busy: "Busy", bad: "Attention" }[verdict.level];
  useEffect(() => {
    const wait = Math.max(0, last.current + 10_000 - Date.now());
    const timer = setTimeout(() => {
      last.current = Date.now();
      spoken.value = verdict.text;
    }, wait);
    return () => clearTimeout(timer);
  }, [verdict.text]);
  return (
    <>
      <div class={`verdict ${verdict.level}`}>
        <span class="mark" aria-hidden="true">{{ good: "✓", busy: "◷", bad: "!" }[verdict.level]}</span>
        <p>
          <strong>{words}.</strong> <span id="verdict">{verdict.text}</span>
        </p>
      </div>
      <p class="hidden" aria-live="polite">{spoken}</p>
    </>
  );
}

function Figure({ id, label, children, note }: { id: string; label: string; children: preact.ComponentChildren; note: string }) {
  return (
    <div class="figure">
      <dt>{label}</dt>
      <dd>
        <span class="big" id={id}>{children}</span>
        <span class="note">{note}</span>
      </dd>
    </div>
  );
}

export function Now({ state: s }: { state: State }) {
  const since = s.since ? `since ${moment(s.since)}` : "today";
  return (
    <>
      <Verdict verdict={s.verdict} />
      <dl class="figures">
        <Figure id="waiting" label="Waiting now" note={`${s.outstanding} running`}>
          <Num of={s.waiting} />
        </Figure>
        <Figure id="p95" label="p95 wait" note="of those that ran in the last 5 min">
          <Span ms={s.lately.wait_p95_ms} />
        </Figure>
        {s.avoided !== undefined && (
          <Figure id="avoided" label="429s avoided" note={since}>
            <Num of={s.avoided} />
          </Figure>
        )}
        <Figure id="told" label="429s seen by users" note={since}>
          <Num of={s.today.told_429} />
        </Figure>
      </dl>
      {s.avoided !== undefined && (
        <details class="meaning">
          <summary>What “429s avoided” counts</summary>
          <p>
            The same arrivals go to the same quotas once more, without a queue: each request at the moment it arrived, to the first upstream of its
            route, for as long as it ran here and with the tokens it used here. What does not fit at that moment is refused there, takes nothing, and
            does not ask again. A request that would have been refused so, and was answered here, is one 429 avoided. A paced limit counts as the most
            lenient kind there is: its number in any such span. The count follows a little later, when all that arrived earlier has ended.
          </p>
        </details>
      )}
      <section aria-labelledby="chart">
        <h2 id="chart">The last five minutes</h2>
        <WaitChart series={s.lately.series} />
      </section>
      <section aria-labelledby="today">
        <h2 id="today">Today</h2>
        <dl class="facts">
          <div><dt>Requests ended</dt><dd><Num of={s.today.finished} /></dd></div>
          <div><dt>Answered</dt><dd><Num of={s.today.served} /></dd></div>
          <div><dt>Answered after a wait</dt><dd><Num of={s.today.waited} /></dd></div>
          <div><dt>429s from providers</dt><dd><Num of={s.today.throttled} /></dd></div>
          <div><dt>Turned away</dt><dd><Num of={s.today.refused} /></dd></div>
          {s.tasks && <div><dt>Tasks waiting, running, scheduled</dt><dd><Num of={s.tasks.waiting} />, <Num of={s.tasks.running} />, <Num of={s.tasks.scheduled} /></dd></div>}
        </dl>
        <p class="soft">A day begins at midnight UTC. Turned away: refused on arrival, or still waiting when the client could be held no longer.</p>
      </section>
    </>
  );
}
