import { useEffect, useState } from "preact/hooks";
import type { PlanRow, Setting } from "../types";
import { get, words } from "../api";
import { PlanChart } from "../chart";
import { count, share, span } from "../format";
import { Empty, Num, Pill, Table } from "../parts";
import { session, state } from "../store";

interface Slider {
  name: string;
  label: string;
  steps: number[];
  start: number; // index into steps
  say: (v: number) => string;
  value: (v: number) => string; // for the gateway; empty leaves it to it
}

const sliders: Slider[] = [
  { name: "users", label: "Users, up to", steps: [8, 16, 24, 40, 80, 120, 160, 200, 400, 800, 1600], start: 4, say: count, value: String },
  { name: "requests_per_user", label: "Requests of each", steps: [0.1, 0.2, 0.5, 1, 2, 3, 4, 6, 10, 20, 30], start: 4, say: (v) => `${v} a minute`, value: (v) => (v < 1 ? `${60 * v}/h` : `${v}/m`) },
  { name: "tokens", label: "Tokens of a prompt", steps: [250, 500, 1000, 2000, 4000, 6000, 8000, 12000, 16000, 32000, 64000, 100000], start: 5, say: count, value: String },
  { name: "output", label: "Tokens of an answer", steps: [25, 50, 100, 150, 219, 300, 500, 800, 1200, 2000, 4000], start: 4, say: count, value: String },
  { name: "latency", label: "An answer takes", steps: [0, 0.5, 1, 2, 3, 5, 8, 12, 20, 30, 60], start: 0, say: (v) => (v ? span(1000 * v) : "usual time"), value: (v) => (v ? `${v}s` : "") },
  { name: "max_wait", label: "Good: p95 wait up to", steps: [1, 2, 3, 5, 8, 10, 15, 20, 30, 60, 120], start: 3, say: (v) => span(1000 * v), value: (v) => `${v}s` },
];

const arrivals = [
  { value: "closed", text: "ask, read, ask again" },
  { value: "poisson", text: "ask at random times" },
  { value: "bursts", text: "ask in bursts" },
];

type Choice = Record<string, number>;

const step = (s: Slider, at: number | undefined): number => s.steps[at ?? s.start] ?? 0;

/** The question to the gateway: eight numbers of users, up to the chosen one. */
function question(choice: Choice, manner: string, cls: string, model: string): string {
  const q = new URLSearchParams({ arrivals: manner });
  if (cls) q.set("class", cls);
  if (model) q.set("model", model);
  for (const s of sliders) {
    const v = step(s, choice[s.name]);
    const said = s.value(v);
    if (s.name !== "users") said && q.set(s.name, said);
    else q.set("users", [1, 2, 3, 4, 5, 6, 7, 8].map((k) => Math.round((k * v) / 8)).join());
  }
  return q.toString();
}

interface Plan {
  rows: PlanRow[] | null;
  wrong: string;
  busy: boolean;
}

function usePlan(ask: string): Plan {
  const [plan, setPlan] = useState<Plan>({ rows: null, wrong: "", busy: true });
  useEffect(() => {
    const left = new AbortController();
    setPlan((p) => ({ ...p, busy: true }));
    const wait = setTimeout(() => {
      get<PlanRow[]>(`/api/v1/plan?${ask}`, left.signal).then(
        (rows) => setPlan({ rows, wrong: "", busy: false }),
        (e: unknown) => left.signal.aborted || setPlan((p) => ({ ...p, wrong: words(e), busy: false })),
      );
    }, 150);
    return () => {
      clearTimeout(wait);
      left.abort();
    };
  }, [ask]);
  return plan;
}

function Matrix({ rows, chosen, choose }: { rows: PlanRow[]; chosen: number; choose: (users: number) => void }) {
  return (
    <Table label="Capacity matrix" className="plan">
      <thead>
        <tr>
          <th scope="col">Users</th>
          <th scope="col">Serves them</th>
          <th scope="col" class="n">Asked / min</th>
          <th scope="col" class="n">Answered / min</th>
          <th scope="col" class="n">Tokens / min</th>
          <th scope="col" class="n">Seats, most</th>
          <th scope="col" class="n">Wait p50</th>
          <th scope="col" class="n">Wait p95</th>
          <th scope="col" class="n">No answer</th>
          <th scope="col" class="n">Used</th>
          <th scope="col" class="n">Fairness</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((r) => (
          <tr key={r.users} data-users={r.users} class={r.users === chosen ? "chosen" : ""}>
            <th scope="row"><button aria-pressed={r.users === chosen} onClick={() => choose(r.users)}>{count(r.users)}<span class="hidden"> users in detail</span></button></th>
            <td><Pill kind={r.good ? "good" : r.answered < 0.999 * r.requests ? "bad" : "busy"}>{r.verdict.split(":", 1)[0]}</Pill></td>
            <td class="n"><Num of={r.wanted_per_min} is={count(Math.round(r.wanted_per_min))} /></td>
            <td class="n"><Num of={r.served_per_min} is={count(Math.round(r.served_per_min))} /></td>
            <td class="n"><Num of={r.tokens_per_min} is={count(Math.round(r.tokens_per_min))} /></td>
            <td class="n"><Num of={r.seats_most} /></td>
            <td class="n"><Num of={r.wait_p50_s} is={span(1000 * r.wait_p50_s)} /></td>
            <td class="n"><Num of={r.wait_p95_s} is={span(1000 * r.wait_p95_s)} /></td>
            <td class="n"><Num of={r.requests - r.answered} is={share(r.requests > 0 ? 1 - r.answered / r.requests : 0)} /></td>
            <td class="n"><Num of={r.utilization} is={share(r.utilization)} /></td>
            <td class="n"><Num of={r.jain} is={r.jain.toFixed(2)} /></td>
          </tr>
        ))}
      </tbody>
    </Table>
  );
}

/** The change as lines of the configuration's file; nothing is written. */
function Diff({ of: r }: { of: PlanRow }) {
  const [shown, setShown] = useState(false);
  const [copied, setCopied] = useState(false);
  const [files, setFiles] = useState("");
  useEffect(() => {
    setCopied(false);
    if (!shown || !r.change) return;
    const paths = r.change.map((c) => c.path);
    get<{ settings: Setting[] }>("settings").then(
      (a) => setFiles([...new Set(a.settings.filter((s) => paths.includes(s.name) && s.origin !== "default").map((s) => s.origin))].join(", ")),
      () => setFiles(""),
    );
  }, [shown, r]);
  if (!r.diff) return null;
  if (!shown) return <button class="main" onClick={() => setShown(true)}>Apply …</button>;
  const added = r.diff.split("\n").filter((l) => l !== "");
  return (
    <div class="diff">
      <p>Change the configuration so, and reload it (<code>kill -HUP</code>). Nothing has been written. {files && <>In force now from {files}.</>}</p>
      <pre tabIndex={0} aria-label="Change of the configuration">{added.map((l, i) => <span key={i} class={l.startsWith("+") ? "plus" : l.startsWith("-") ? "minus" : ""}>{l + "\n"}</span>)}</pre>
      <div class="actions">
        {window.isSecureContext && <button onClick={() => void navigator.clipboard.writeText(r.diff ?? "").then(() => setCopied(true))}>{copied ? "Copied" : "Copy"}</button>}
        <button onClick={() => setShown(false)}>Close</button>
      </div>
    </div>
  );
}

function Detail({ of: r }: { of: PlanRow }) {
  return (
    <section class="card" aria-labelledby="detail">
      <div class="head"><h2 id="detail">With {count(r.users)} users</h2></div>
      <p id="verdict">{r.verdict[0]?.toUpperCase()}{r.verdict.slice(1)}. Tightest: <code>{r.nearest}</code>, {share(r.utilization)} used.</p>
      {r.binds && <p id="binds">What binds: <code>{r.binds}</code></p>}
      {r.change && (
        <>
          <p>The smallest change that makes it good:</p>
          <ul id="change">{r.change.map((c) => <li key={c.path}><code>{c.path}</code> from <strong>{c.from}</strong> to <strong>{c.to}</strong></li>)}</ul>
        </>
      )}
      {!r.good && !r.change && <p>{r.advice || "No change of these limits was found that makes it good."}</p>}
      <Diff key={r.users} of={r} />
    </section>
  );
}

export function Plan() {
  const [choice, setChoice] = useState<Choice>({});
  const [manner, setManner] = useState("closed");
  const [cls, setClass] = useState("");
  const [chosen, setChosen] = useState(0);
  const [model, setModel] = useState("");
  const [models, setModels] = useState<string[]>([]);
  useEffect(() => {
    get<{ settings: Setting[] }>("settings").then((a) => setModels(a.settings.filter((s) => /^routes\.[^.]+\.model$/.test(s.name)).map((s) => s.value)), () => setModels([]));
  }, []);
  const { rows, wrong, busy } = usePlan(question(choice, manner, cls, model));
  if (session.value && !session.value.offers.plan) return <Empty>This gateway does not offer plans.</Empty>;
  const detail = rows?.find((r) => r.users === chosen) ?? rows?.find((r) => !r.good) ?? rows?.at(-1);
  return (
    <>
      <p class="soft lead">What the running configuration does with more users: the gateway's own queue and quotas, played in virtual time. Nothing is sent anywhere.</p>
      <form class="sliders" onSubmit={(e) => e.preventDefault()}>
        {sliders.map((s) => (
          <div key={s.name}>
            <label for={`s-${s.name}`}>{s.label} <output for={`s-${s.name}`}>{s.say(step(s, choice[s.name]))}</output></label>
            <input id={`s-${s.name}`} type="range" min={0} max={s.steps.length - 1} value={choice[s.name] ?? s.start} aria-valuetext={s.say(step(s, choice[s.name]))}
              onInput={(e) => setChoice({ ...choice, [s.name]: e.currentTarget.valueAsNumber })} />
          </div>
        ))}
        <div>
          <label for="s-arrivals">They</label>
          <select id="s-arrivals" value={manner} onChange={(e) => setManner(e.currentTarget.value)}>{arrivals.map((a) => <option key={a.value} value={a.value}>{a.text}</option>)}</select>
        </div>
        <div>
          <label for="s-class">Class</label>
          <select id="s-class" value={cls} onChange={(e) => setClass(e.currentTarget.value)}>
            <option value="">as configured</option>
            {state.value?.classes.filter((c) => c.weight > 0).map((c) => <option key={c.name} value={c.name}>{c.name}</option>)}
          </select>
        </div>
        {models.length > 1 && (
          <div>
            <label for="s-model">Model</label>
            <select id="s-model" value={model || models[0]} onChange={(e) => setModel(e.currentTarget.value)}>{models.map((m) => <option key={m} value={m}>{m === "*" ? "any other" : m}</option>)}</select>
          </div>
        )}
      </form>
      <p class="answer" role="status">{busy ? "Playing …" : wrong ? <span class="wrong">{wrong}</span> : ""}</p>
      {rows && detail ? (
        <div class={busy ? "stale" : ""} aria-busy={busy}>
          <Detail of={detail} />
          <section aria-label="Plot"><PlanChart rows={rows} /></section>
          <section aria-labelledby="matrix">
            <h2 id="matrix">By number of users</h2>
            <Matrix rows={rows} chosen={detail.users} choose={setChosen} />
          </section>
        </div>
      ) : !wrong && <Empty>Playing the first plan …</Empty>}
    </>
  );
}
