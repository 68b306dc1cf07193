import { useEffect, useState } from "preact/hooks";
import type { Story, Tokens } from "../types";
import { get } from "../api";
import { moment, reason, share, shortly, span } from "../format";
import { Empty, Num, Pill, Span, Table } from "../parts";
import { good, Outcome } from "./requests";

interface Step {
  name: string;
  kind: "wait" | "run" | "fail" | "answer";
  from: number;
  to: number;
}

const waits = (reason: string): string => (reason ? `waits for ${shortly(reason)}` : "waits");

/** What became of a request that was never sent and never waited. */
const unsent: Record<string, string> = { cached: "answered from the cache", coalesced: "shares an identical request's call", refused: "turned away" };

/** What happened when, in ms after the arrival. */
function steps(r: Story): Step[] {
  const all: Step[] = [];
  let free = 0;
  let waited = 0;
  for (const t of r.tries ?? []) {
    if (t.start_ms > free + 0.5) all.push({ name: waits(t.reason), kind: "wait", from: free, to: t.start_ms });
    waited += t.queued_ms;
    const ok = t.kind === "none";
    const first = t.first_byte_ms > 0 && t.first_byte_ms < t.total_ms;
    const begun = t.start_ms + (first ? t.first_byte_ms : t.total_ms);
    all.push({ name: `${t.upstream}: asked`, kind: ok ? "run" : "fail", from: t.start_ms, to: begun });
    if (first) all.push({ name: `${t.upstream}: ${ok ? "answers" : "fails"}`, kind: ok ? "answer" : "fail", from: begun, to: t.start_ms + t.total_ms });
    free = t.start_ms + t.total_ms;
  }
  // What it waited for in vain, after its attempts or without any.
  if (r.queued_ms > waited + 0.5 && r.tries?.length === (r.attempts || undefined)) all.push({ name: waits(r.reason), kind: "wait", from: free, to: r.total_ms });
  if (all.length === 0) all.push({ name: unsent[r.outcome] ?? r.outcome.replaceAll("_", " "), kind: good.has(r.outcome) ? "answer" : "fail", from: 0, to: r.total_ms });
  return all;
}

function Timeline({ of: r }: { of: Story }) {
  const whole = Math.max(r.total_ms, 1);
  return (
    <ol class="timeline">
      {steps(r).map((s, i) => (
        <li key={i}>
          <span class="what">{s.name}</span>
          <svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
            <rect class="rail" x="0" y="4.500" width="1000" height="1" />
            <rect class={s.kind} x={Math.min((1000 * s.from) / whole, 996)} y="0" width={Math.max((1000 * (s.to - s.from)) / whole, 4)} height="10" />
          </svg>
          <span class="soft when">{span(s.from)} – {span(s.to)}</span>
        </li>
      ))}
    </ol>
  );
}

/** What the time in the queue was for, the longest first. */
function Waits({ of: all, total }: { of: { reason: string; ms: number }[]; total: number }) {
  let from = 0;
  return (
    <ol id="waits" class="timeline">
      {all.map((s) => {
        const x = from;
        from += (1000 * s.ms) / total;
        return (
          <li key={s.reason}>
            <span class="what">{reason(s.reason)}</span>
            <svg viewBox="0 0 1000 10" preserveAspectRatio="none" aria-hidden="true" focusable="false">
              <rect class="rail" x="0" y="4.500" width="1000" height="1" />
              <rect class="wait" x={Math.min(x, 996)} y="0" width={Math.max(from - x, 4)} height="10" />
            </svg>
            <span class="when"><Span ms={s.ms} /> <span class="soft">{share(s.ms / total)}</span></span>
          </li>
        );
      })}
    </ol>
  );
}

function Sentences({ id, title, of: all }: { id: string; title: string; of: string[] | undefined }) {
  if (!all || all.length === 0) return null;
  return (
    <>
      <h2>{title}</h2>
      <ul id={id} class="plain">{all.map((text) => <li key={text}>{text}</li>)}</ul>
    </>
  );
}

const tokens = (t: Tokens) => <><Num of={t.input} /> in, <Num of={t.output} /> out</>;

export function Request({ id }: { id: string }) {
  const [r, setStory] = useState<Story | null>(null);
  const [wrong, setWrong] = useState("");
  useEffect(() => {
    setStory(null);
    setWrong("");
    get<Story>(`requests/${encodeURIComponent(id)}`).then(setStory, (e: Error) => setWrong(e.message));
  }, [id]);
  const back = <p><a href="#/requests">All requests</a></p>;
  if (wrong) return <>{back}<Empty>{wrong}</Empty></>;
  if (!r) return <>{back}<Empty>Asking the gateway …</Empty></>;
  return (
    <>
      {back}
      <p class="head"><code>{r.id}</code> <Outcome of={r} /></p>
      <p id="summary">{r.summary}</p>
      <Sentences id="why" title="Why" of={r.why} />
      <h2>What happened when</h2>
      <Timeline of={r} />
      {r.moments && (
        <details class="meaning">
          <summary>Moment by moment</summary>
          <Table label="Moments">
            <thead><tr><th scope="col" class="n">After</th><th scope="col">What</th></tr></thead>
            <tbody>{r.moments.map((m, i) => <tr key={i}><td class="n"><Span ms={m.at_ms} /></td><td>{m.text}</td></tr>)}</tbody>
          </Table>
        </details>
      )}
      {r.by && (
        <>
          <h2>What the wait was for</h2>
          <Waits of={r.by} total={r.queued_ms} />
        </>
      )}
      <Sentences id="help" title="What would have helped" of={r.help} />
      <h2>Attempts</h2>
      {r.tries ? (
        <Table label="Attempts" className="stack">
          <thead>
            <tr>
              <th scope="col">Attempt</th>
              <th scope="col">Upstream</th>
              <th scope="col">Result</th>
              <th scope="col" class="n">HTTP</th>
              <th scope="col" class="n">After</th>
              <th scope="col" class="n">First byte</th>
              <th scope="col" class="n">Took</th>
              <th scope="col">Tokens estimated</th>
              <th scope="col">Tokens used</th>
            </tr>
          </thead>
          <tbody>
            {r.tries.map((t) => (
              <tr key={t.number}>
                <th scope="row" data-is="Attempt">{t.number}</th>
                <td class="wrap all" data-is="Upstream"><span>{t.upstream}{t.model && <span class="soft also"> {t.model}</span>}</span></td>
                <td class="all" data-is="Result">{t.kind === "none" ? <Pill kind="good">answered</Pill> : <Pill kind="bad">{t.kind.replaceAll("_", " ")}</Pill>}</td>
                <td class="n" data-is="HTTP">{t.status || "–"}</td>
                <td class="n" data-is="After"><Span ms={t.start_ms} /></td>
                <td class="n" data-is="First byte">{t.first_byte_ms > 0 ? <Span ms={t.first_byte_ms} /> : "–"}</td>
                <td class="n" data-is="Took"><Span ms={t.total_ms} /></td>
                <td class="line all" data-is="Estimated"><span>{tokens(t.estimated)}</span></td>
                <td class="line all" data-is="Used"><span>{tokens(t.used)}{t.counted && <span class="soft"> (counted here)</span>}</span></td>
              </tr>
            ))}
          </tbody>
        </Table>
      ) : (
        <Empty>It was never sent to an upstream, or its attempts are no longer kept.</Empty>
      )}
      <h2>Facts</h2>
      <dl class="facts">
        <div><dt>User</dt><dd>{r.tenant} / {r.user}</dd></div>
        <div><dt>Class</dt><dd>{r.class}</dd></div>
        <div><dt>Model asked for</dt><dd>{r.model}</dd></div>
        <div><dt>Route</dt><dd>{r.route || "–"}</dd></div>
        <div><dt>Kind</dt><dd>{r.operation}{r.stream ? ", streamed" : ""}</dd></div>
        <div><dt>Arrived</dt><dd>{moment(r.arrived)}</dd></div>
        <div><dt>Waited</dt><dd><Span ms={r.queued_ms} /></dd></div>
        <div><dt>First byte after</dt><dd>{r.first_byte_ms > 0 ? <Span ms={r.first_byte_ms} /> : "–"}</dd></div>
        <div><dt>In all</dt><dd><Span ms={r.total_ms} /></dd></div>
        <div><dt>Status told</dt><dd>{r.status || "–"}</dd></div>
        <div><dt>Tokens estimated</dt><dd>{tokens(r.estimated)}</dd></div>
        <div><dt>Tokens used</dt><dd>{tokens(r.used)}</dd></div>
      </dl>
    </>
  );
}
