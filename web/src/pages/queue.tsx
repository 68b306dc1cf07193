import { useEffect, useRef, useState } from "preact/hooks";
import type { ClassLine, FlowLine, FlowName, State } from "../types";
import { get, words } from "../api";
import { count, per, reason, share, shortly, span } from "../format";
import { Bar, carryOut, Empty, Looker, Num, Pill, Span, Table, Told } from "../parts";
import { session } from "../store";

const acts = (): boolean => Boolean(session.value?.acts && session.value.offers.queue);
const only = ({ class: c, tenant, user }: FlowName): FlowName => ({ class: c, tenant, user });
const key = (f: FlowName): string => [f.class, f.tenant, f.user].join("\u0000");
const name = (f: FlowName): string => f.user || "(none)";

function setPaused(c: ClassLine): void {
  const what = c.paused ? "resume" : "pause";
  void carryOut("queue", `classes/${encodeURIComponent(c.name)}/${what}`, undefined, () =>
    c.paused ? `${c.name} runs again.` : `${c.name} is paused: nothing of it starts. Who waits keeps the place.`);
}

function Rate({ of: r }: { of: ClassLine["rate"] }) {
  if (!r) return <>–</>;
  return (
    <>
      <Num of={r.started} /> of <Num of={r.max} /> <span class="soft">{per(r.per_ms)}</span>
      {r.shadow && <span class="soft">, not enforced (<Num of={r.exceeded} /> over)</span>}
      {!r.shadow && r.next_ms > 0 && <span class="soft">, next in {span(r.next_ms)}</span>}
    </>
  );
}

function Classes({ all }: { all: ClassLine[] }) {
  return (
    <section aria-labelledby="classes">
      <h2 id="classes">Classes</h2>
      <Table label="Classes" className="stack">
        <thead>
          <tr>
            <th scope="col">Class</th>
            <th scope="col" class="n">Waiting</th>
            <th scope="col" class="n">Running</th>
            <th scope="col" class="n">Oldest waits</th>
            <th scope="col">Starts</th>
            <th scope="col" class="n">Ended</th>
            <th scope="col" class="n">Answered</th>
            <th scope="col" class="n">Turned away</th>
            {acts() && <th scope="col"><span class="hidden">Actions</span></th>}
          </tr>
        </thead>
        <tbody>
          {all.map((c) => (
            <tr key={c.name} data-class={c.name}>
              <th scope="row"><span class="cut">{c.name}</span> {c.paused && <Pill kind="busy">paused</Pill>} {c.weight === 0 && <Pill kind="plain">not configured</Pill>}</th>
              <td class="n" data-is="Waiting"><Num of={c.waiting} /></td>
              <td class="n" data-is="Running"><Num of={c.running} /></td>
              <td class="n" data-is="Oldest"><Num of={c.oldest_ms} is={c.oldest_ms > 0 ? span(c.oldest_ms) : "–"} /></td>
              <td data-is="Starts" class="all"><span><Rate of={c.rate} /></span></td>
              <td class="n" data-is="Ended"><Num of={c.finished} /></td>
              <td class="n" data-is="Answered"><Num of={c.served} /></td>
              <td class="n" data-is="Turned away"><Num of={c.refused} /></td>
              {acts() && (
                <td class="do">{c.weight > 0 && <button onClick={() => setPaused(c)}>{c.paused ? "Resume" : "Pause"}<span class="hidden"> the class {c.name}</span></button>}</td>
              )}
            </tr>
          ))}
        </tbody>
      </Table>
      <p class="soft">Waiting, running and starts: now. The others: since the start of the gateway.</p>
    </section>
  );
}

/** Asks once more before requests are ended. */
function Sure({ of: f, close }: { of: FlowLine; close: () => void }) {
  const box = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    box.current?.showModal();
    return () => before?.focus();
  }, []);
  const yes = () => {
    close();
    void carryOut<{ requests: number }>("queue", "flows/evict", only(f), (a) => `${count(a?.requests ?? 0)} waiting ${a?.requests === 1 ? "request" : "requests"} of ${name(f)} ended.`);
  };
  return (
    <dialog ref={box} aria-labelledby="sure" onCancel={close}>
      <h2 id="sure">End what {name(f)} has waiting?</h2>
      <p>
        {f.waiting === 1 ? "1 request waits" : `${count(f.waiting)} requests wait`} in the class {f.class}. Their clients are told 503 and may ask again. What runs goes on.
      </p>
      <div class="actions">
        <button class="danger" onClick={yes}>Yes, end them</button>
        <button onClick={close}>No</button>
      </div>
    </dialog>
  );
}

function Eta({ of: f }: { of: FlowLine }) {
  if (f.waiting === 0) return <>–</>;
  if (f.unknown) return <span class="soft">not known</span>;
  return <><Span ms={f.eta_ms} /> <span class="soft">to <Num of={f.eta_p90_ms} is={span(f.eta_p90_ms)} /></span></>;
}

function Row({ of: f, end }: { of: FlowLine; end: (f: FlowLine) => void }) {
  return (
    <tr data-flow={key(f)}>
      <td class="n" data-is="Position"><Num of={f.position} is={f.position > 0 ? count(f.position) : "–"} /></td>
      <th scope="row" class="cut" title={name(f)}>{f.tenant && <span class="soft">{f.tenant} / </span>}{name(f)}</th>
      <td data-is="Class">{f.class}{f.moved_up && <> <Pill kind="plain">moved up</Pill></>}</td>
      <td class="n" data-is="Waiting"><Num of={f.waiting} /></td>
      <td class="n" data-is="Running"><Num of={f.running} /></td>
      <td data-is="Starts in" class="line all"><span><Eta of={f} /></span></td>
      <td class="n" data-is="Oldest"><Num of={f.oldest_ms} is={f.waiting > 0 ? span(f.oldest_ms) : "–"} /></td>
      <td data-is="Waits for" class="line" title={reason(f.reason)}>{f.waiting > 0 && f.reason ? shortly(f.reason) : "–"}</td>
      <td class="wide" data-is="Share, due"><Bar whole={Math.max(2 * f.fair_share, f.share, 1e-6)} parts={[{ kind: f.share > f.fair_share ? "reserved" : "used", size: f.share }]} mark={f.fair_share} /> <Num of={f.share} is={fine(f.share)} /> <span class="soft">of <Num of={f.fair_share} is={fine(f.fair_share)} /></span></td>
      {acts() && (
        <td class="do">
          {f.waiting > 0 && !f.moved_up && <button onClick={() => void carryOut("queue", "flows/move-up", only(f), () => `The first request of ${name(f)} goes next in ${f.class}.`)}>Move up<span class="hidden"> {name(f)}</span></button>}{" "}
          {f.waiting > 0 && <button onClick={() => end(f)}>End<span class="hidden"> what {name(f)} has waiting</span></button>}
        </td>
      )}
    </tr>
  );
}

/** A share, finer where it is small. */
const fine = (part: number): string => (part > 0 && part < 0.1 ? `${(100 * part).toFixed(1)} %` : share(part));

interface Found {
  flows: FlowLine[];
  found: number;
  looked: number;
  all: number;
}

/** The flows to list: those of the frame, or what the gateway finds among the others. */
function useFlows(s: State, only: string, find: string): Found & { wrong: string } {
  const [found, setFound] = useState<Found | null>(null);
  const [wrong, setWrong] = useState("");
  const whole = s.queue.length >= s.flows;
  const ask = !whole && (only !== "" || find !== "");
  const beat = Math.floor(s.seq / 2);
  useEffect(() => {
    if (!ask) {
      setFound(null);
      return;
    }
    const left = new AbortController();
    get<Found>(`flows?${new URLSearchParams({ class: only, find })}`, left.signal).then(
      (f) => {
        setFound(f);
        setWrong("");
      },
      (e: unknown) => left.signal.aborted || setWrong(words(e)),
    );
    return () => left.abort();
  }, [ask, only, find, beat]);
  if (ask && found) return { ...found, wrong };
  const lower = find.toLowerCase();
  const flows = s.queue.filter((f) => (!only || f.class === only) && (f.user.toLowerCase().includes(lower) || f.tenant.toLowerCase().includes(lower)));
  return { flows, found: ask || only || find ? flows.length : s.flows, looked: flows.length, all: flows.length, wrong };
}

/** Keeps rows where they are while somebody points at them. */
function useStill(flows: FlowLine[]): { rows: FlowLine[]; hold: (on: boolean) => void } {
  const order = useRef<string[] | null>(null);
  const hold = (on: boolean) => {
    order.current = on ? (order.current ?? flows.map(key)) : null;
  };
  if (!order.current) return { rows: flows, hold };
  const now = new Map(flows.map((f) => [key(f), f]));
  const kept = order.current.flatMap((k) => now.get(k) ?? []);
  const known = new Set(order.current);
  return { rows: [...kept, ...flows.filter((f) => !known.has(key(f)))], hold };
}

function Flows({ state: s }: { state: State }) {
  const [cls, setClass] = useState("");
  const [find, setFind] = useState("");
  const [ending, setEnding] = useState<FlowLine | null>(null);
  const { flows, found, looked, all, wrong } = useFlows(s, cls, find.trim());
  const { rows, hold } = useStill(flows);
  return (
    <section aria-labelledby="flows">
      <h2 id="flows">Who waits</h2>
      <form class="filter" role="search" onSubmit={(e) => e.preventDefault()}>
        <label>Find <input type="search" value={find} maxLength={100} onInput={(e) => setFind(e.currentTarget.value)} /></label>
        <label>Class{" "}
          <select value={cls} onChange={(e) => setClass(e.currentTarget.value)}>
            <option value="">all</option>
            {s.classes.map((c) => <option key={c.name} value={c.name}>{c.name}</option>)}
          </select>
        </label>
        <span class="soft" role="status">{rows.length < found ? `The first ${count(rows.length)} of ${count(found)} users; ${count(found - rows.length)} more` : `${count(found)} ${found === 1 ? "user" : "users"}`}{looked < all && `, among ${count(looked)} of ${count(all)}`}</span>
      </form>
      <Told about="queue" />
      {wrong && <p class="wrong">{wrong}</p>}
      {rows.length === 0 ? <Empty>{find || cls ? "Nobody matches." : "Nobody waits, and nothing runs."}</Empty> : (
        <div onPointerEnter={() => hold(true)} onPointerLeave={() => hold(false)}>
          <Table label="Who waits" className="stack flows">
            <thead>
              <tr>
                <th scope="col" class="n">Position</th>
                <th scope="col">User</th>
                <th scope="col">Class</th>
                <th scope="col" class="n">Waiting</th>
                <th scope="col" class="n">Running</th>
                <th scope="col">Starts in</th>
                <th scope="col" class="n">Oldest</th>
                <th scope="col">Waits for</th>
                <th scope="col">Share, due</th>
                {acts() && <th scope="col"><span class="hidden">Actions</span></th>}
              </tr>
            </thead>
            <tbody>{rows.map((f) => <Row key={key(f)} of={f} end={setEnding} />)}</tbody>
          </Table>
        </div>
      )}
      <p class="soft">
        By position. Starts in: of its first request, expected, and what holds for 9 in 10. Oldest: how long that has waited. Share: of what its upstreams did in the last minute or so, of what is its due
        when everybody here gets a fair part. Rows stand still while you point at them.
      </p>
      {ending && <Sure of={ending} close={() => setEnding(null)} />}
    </section>
  );
}

function Users({ state: s }: { state: State }) {
  return (
    <section aria-labelledby="users">
      <h2 id="users">Users in the last five minutes</h2>
      {s.users.length === 0 ? (
        <Empty>Nobody's request has ended in the last five minutes.</Empty>
      ) : (
        <Table label="Users" className="stack">
          <thead>
            <tr>
              <th scope="col">User</th>
              <th scope="col">Class</th>
              <th scope="col" class="n">Requests</th>
              <th scope="col" class="n">Tokens</th>
              <th scope="col">Share of the class</th>
              <th scope="col" class="n">Longest wait</th>
            </tr>
          </thead>
          <tbody>
            {s.users.map((u) => (
              <tr key={key(u)}>
                <th scope="row" class="cut" title={name(u)}>{u.tenant && <span class="soft">{u.tenant} / </span>}{name(u)}</th>
                <td data-is="Class">{u.class}</td>
                <td class="n" data-is="Requests"><Num of={u.requests} /></td>
                <td class="n" data-is="Tokens"><Num of={u.tokens} /></td>
                <td class="wide" data-is="Share"><Bar whole={1} parts={[{ kind: "used", size: u.share }]} /> <Num of={u.share} is={share(u.share)} /></td>
                <td class="n" data-is="Longest"><Span ms={u.wait_max_ms} /></td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
      <p class="soft">Made of the latest 1,024 requests that have ended; the 50 users with the most tokens.</p>
    </section>
  );
}

export function Queue({ state: s }: { state: State }) {
  return (
    <>
      <Looker what="pause a class, move somebody up or end what waits" />
      <Classes all={s.classes} />
      <Flows state={s} />
      <Users state={s} />
    </>
  );
}
