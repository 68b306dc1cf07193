import { useEffect, useState } from "preact/hooks";
import type { LoadParameters, LoadState } from "../types";
import { get, reportURL, words } from "../api";
import { count, span } from "../format";
import { carryOut, Empty, Looker, Num, Pill, Span, Spark, Table, Told } from "../parts";
import { session, state } from "../store";

interface Field {
  name: keyof LoadParameters;
  label: string;
  min: number;
  max: number;
  step: number;
  start: number;
}

const fields: Field[] = [
  { name: "users", label: "Users", min: 1, max: 200, step: 1, start: 20 },
  { name: "requests_per_minute", label: "Requests a minute of each", min: 0.1, max: 600, step: 0.1, start: 6 },
  { name: "seconds", label: "Seconds", min: 5, max: 600, step: 1, start: 30 },
  { name: "tokens", label: "Tokens of a prompt", min: 1, max: 100_000, step: 1, start: 1000 },
  { name: "output_tokens", label: "Tokens of an answer", min: 1, max: 8000, step: 1, start: 150 },
  { name: "stream_share", label: "Part that streams, 0 to 1", min: 0, max: 1, step: 0.05, start: 0.5 },
];

const phases: Record<LoadState["phase"], { kind: "good" | "busy" | "bad" | "plain"; text: string }> = {
  idle: { kind: "plain", text: "nothing has run" },
  running: { kind: "busy", text: "running" },
  finishing: { kind: "busy", text: "waiting for the last answers" },
  ended: { kind: "good", text: "ended" },
  failed: { kind: "bad", text: "failed" },
};

/** The run, asked for once a second. */
function useLoad(): { load: LoadState | null; wrong: string; again: () => void } {
  const [load, setLoad] = useState<LoadState | null>(null);
  const [wrong, setWrong] = useState("");
  const ask = () => {
    get<LoadState>("load").then(
      (l) => {
        setLoad(l);
        setWrong("");
      },
      (e: unknown) => setWrong(words(e)),
    );
  };
  const beat = state.value?.seq ?? 0;
  useEffect(ask, [beat]);
  return { load, wrong, again: ask };
}

function Start({ again }: { again: () => void }) {
  const classes = state.value?.classes.filter((c) => c.weight > 0).map((c) => c.name) ?? [];
  const [values, setValues] = useState<Partial<Record<string, number>>>({});
  const [mix, setMix] = useState<Record<string, number>>({});
  const part = (name: string) => mix[name] ?? (name === "chat" || classes.length === 1 ? 1 : 0);
  const start = () => {
    const body = Object.fromEntries(fields.map((f) => [f.name, values[f.name] ?? f.start]));
    const chosen = classes.map((name) => ({ class: name, weight: part(name) })).filter((c) => c.weight > 0);
    void carryOut("load", "load/start", chosen.length > 0 ? { ...body, classes: chosen } : body, () => "It runs.").then(again);
  };
  return (
    <form class="card start" onSubmit={(e) => { e.preventDefault(); start(); }}>
      <div class="head"><h2>A new run</h2></div>
      <div class="fields">
        {fields.map((f) => (
          <label key={f.name}>{f.label}
            <input type="number" name={f.name} required min={f.min} max={f.max} step={f.step} value={values[f.name] ?? f.start} onInput={(e) => setValues({ ...values, [f.name]: e.currentTarget.valueAsNumber })} />
          </label>
        ))}
      </div>
      {classes.length > 1 && (
        <fieldset>
          <legend>Parts of the classes</legend>
          <div class="fields">
            {classes.map((name) => (
              <label key={name}><span class="cut">{name}</span>
                <input type="number" min={0} max={100} step={1} value={part(name)} onInput={(e) => setMix({ ...mix, [name]: e.currentTarget.valueAsNumber || 0 })} />
              </label>
            ))}
          </div>
        </fieldset>
      )}
      <button class="main" type="submit">Start</button>
    </form>
  );
}

const courses: { key: "answered" | "in_flight" | "p95_ms" | "wait_p95_ms"; label: string; say: (v: number) => string }[] = [
  { key: "answered", label: "Answers a second", say: count },
  { key: "in_flight", label: "Under way", say: count },
  { key: "p95_ms", label: "p95 answer", say: span },
  { key: "wait_p95_ms", label: "p95 wait", say: span },
];

function Watch({ of: l }: { of: LoadState }) {
  const points = l.points;
  return (
    <>
      <dl class="figures">
        <div class="figure"><dt>Sent</dt><dd><span class="big" id="sent"><Num of={l.sent} /></span><span class="note"><Num of={l.waiting} /> under way</span></dd></div>
        <div class="figure"><dt>Answered</dt><dd><span class="big" id="answered"><Num of={l.answered} /></span><span class="note"><Num of={l.errors} /> failed</span></dd></div>
        <div class="figure"><dt>Answers took, p50</dt><dd><span class="big" id="p50"><Span ms={l.p50_ms} /></span><span class="note">p95 <Span ms={l.p95_ms} /></span></dd></div>
        <div class="figure"><dt>Waited, p95</dt><dd><span class="big" id="wait"><Span ms={l.wait_p95_ms} /></span><span class="note">as the gateway says</span></dd></div>
      </dl>
      {points.length > 1 && (
        <div class="sparks">
          {courses.map((c) => {
            const all = points.map((p) => p[c.key]);
            const last = all.at(-1) ?? 0;
            const most = Math.max(...all);
            return (
              <figure key={c.key}>
                <figcaption>{c.label} <strong>{c.say(last)}</strong> <span class="soft">most {c.say(most)}</span></figcaption>
                <Spark points={all} label={`${c.label}, second by second: last ${c.say(last)}, most ${c.say(most)}`} />
              </figure>
            );
          })}
        </div>
      )}
      <Statuses of={l.statuses} />
      {l.caveats.map((w) => <p key={w} class="soft">{w}</p>)}
    </>
  );
}

function Statuses({ of: all }: { of: Record<string, number> }) {
  const list = Object.entries(all);
  if (list.length === 0) return null;
  return (
    <Table label="Statuses" className="narrow">
      <thead><tr><th scope="col">Status</th><th scope="col" class="n">Answers</th></tr></thead>
      <tbody>{list.map(([status, n]) => <tr key={status}><th scope="row">{status}</th><td class="n"><Num of={n} /></td></tr>)}</tbody>
    </Table>
  );
}

export function Load() {
  const { load: l, wrong, again } = useLoad();
  if (session.value && !session.value.offers.load) return <Empty>This gateway does not offer load runs.</Empty>;
  if (!l) return <Empty>{wrong || "Asking the gateway …"}</Empty>;
  const runs = l.phase === "running" || l.phase === "finishing";
  const shown = phases[l.phase];
  const p = l.parameters;
  const acts = session.value?.acts;
  return (
    <>
      <p class="soft lead">
        A run goes to a second gateway inside this process, with the quotas, classes and routes of the running configuration, in front of the built-in simulator. No
        request of it reaches a provider, and it takes nothing from the quotas of this one.
      </p>
      <Looker what="start or stop a run" />
      <Told about="load" />
      {!runs && acts && <Start again={again} />}
      <section aria-labelledby="run" class="card">
        <div class="head">
          <h2 id="run">{runs ? "The run" : "The last run"}</h2>
          <Pill kind={shown.kind}>{shown.text}</Pill>
          <span class="soft" id="progress">{l.phase !== "idle" && `${span(1000 * l.elapsed_seconds)} of ${span(1000 * l.of_seconds)}`}</span>
          <div class="actions">
            {runs && acts && <button onClick={() => void carryOut("load", "load/stop", undefined, () => "It is being stopped.").then(again)}>Stop</button>}
            {l.report && <a class="button" href={reportURL} target="_blank" rel="noopener">Report<span class="hidden"> of the last run, in a new tab</span></a>}
          </div>
        </div>
        {p && l.phase !== "idle" && <p class="soft">{count(p.users)} users, {p.requests_per_minute} requests a minute of each, {count(p.tokens)} tokens and {count(p.output_tokens)} in answer{p.classes && p.classes.length > 0 && `, ${p.classes.map((c) => `${c.class} ${c.weight}`).join(" : ")}`}.</p>}
        {l.error && <p class="wrong">{l.error}</p>}
        {l.phase === "idle" ? <p class="soft">Nothing has run since the start of the gateway.</p> : <Watch of={l} />}
      </section>
    </>
  );
}
