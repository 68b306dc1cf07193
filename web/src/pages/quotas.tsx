import { signal } from "@preact/signals";
import type { Limit, State, Upstream } from "../types";
import { count, dimension, moment, per } from "../format";
import { Bar, carryOut, Empty, Looker, Num, Pill, Span, Table, Told } from "../parts";
import { session } from "../store";

const asked = signal<{ upstream: string; what: "trip" | "reset" } | null>(null);

function Breaker({ upstream: u }: { upstream: Upstream }) {
  const b = u.breaker;
  const kind = { closed: "good", open: "bad", "half-open": "busy" } as const;
  return (
    <>
      <Pill kind={kind[b.state]}>{{ closed: "answers", open: "breaker open", "half-open": "being tried" }[b.state]}</Pill>
      {b.state !== "closed" && (
        <span class="soft">
          {b.reason}
          {b.since && `, since ${moment(b.since)}`}
          {b.by_hand ? ", until it is closed by hand" : b.state === "open" && b.next_probe_ms > 0 && <>, next try in <Span ms={b.next_probe_ms} /></>}
        </span>
      )}
    </>
  );
}

function sure(upstream: string, what: "trip" | "reset"): void {
  asked.value = null;
  void carryOut(`upstream ${upstream}`, `upstreams/${encodeURIComponent(upstream)}/${what}`, undefined, () =>
    what === "trip" ? "The breaker is open now, until somebody closes it." : "The breaker is closed now.");
}

function Actions({ upstream: u }: { upstream: Upstream }) {
  const offers = session.value?.offers;
  const wait = asked.value?.upstream === u.name ? asked.value.what : null;
  if (!session.value?.acts || !offers || u.retired) return null;
  if (wait) {
    return (
      <div class="actions" role="group" aria-label={`Confirm for ${u.name}`}>
        <span>{wait === "trip" ? "Send it nothing until somebody closes it?" : "Send to it again at once?"}</span>
        <button class="danger" ref={(b) => b?.focus()} onClick={() => sure(u.name, wait)}>Yes, {wait === "trip" ? "open the breaker" : "close the breaker"}</button>
        <button onClick={() => (asked.value = null)}>No</button>
      </div>
    );
  }
  return (
    <div class="actions">
      {offers.trip && u.breaker.state === "closed" && <button onClick={() => (asked.value = { upstream: u.name, what: "trip" })}>Open breaker<span class="hidden"> of {u.name}</span></button>}
      {offers.reset && u.breaker.state !== "closed" && <button onClick={() => (asked.value = { upstream: u.name, what: "reset" })}>Close breaker<span class="hidden"> of {u.name}</span></button>}
    </div>
  );
}

function LimitRows({ limit: l }: { limit: Limit }) {
  return (
    <>
      <tr class="bare">
        <th scope="row">
          {dimension(l.dim)} <span class="soft">{per(l.span_ms)}</span>
        </th>
        <td class="n"><Num of={l.used} /></td>
        <td class="n"><Num of={l.reserved} /></td>
        <td class="n"><Num of={l.free} /></td>
        <td class="n">{l.full_ms < 1 ? <Num of={l.full_ms} is="now" /> : <Span ms={l.full_ms} />}</td>
      </tr>
      <tr>
        <td colSpan={5} class="under">
          <Bar whole={l.learned} parts={[{ kind: "used", size: l.used }, { kind: "reserved", size: l.reserved }]} />
          <span class="soft">
            <Num of={l.configured} /> configured
            {l.learned < l.configured && <strong>, <Num of={l.learned} /> learned</strong>}, {l.kind}
            {l.burst > 0 && `, at most ${count(l.burst)} at once`}
            {l.shadow && <strong>, not enforced: <Num of={l.exceeded} /> sent without room</strong>}
          </span>
        </td>
      </tr>
    </>
  );
}

function SeatRows({ upstream: u }: { upstream: Upstream }) {
  return (
    <>
      <tr class="bare">
        <th scope="row">Seats <span class="soft">at a time</span></th>
        <td class="n"><Num of={u.in_use} /></td>
        <td class="n">–</td>
        <td class="n">{u.seats > 0 ? <Num of={Math.max(u.seats - u.in_use, 0)} /> : "–"}</td>
        <td class="n">–</td>
      </tr>
      <tr>
        <td colSpan={5} class="under">
          {u.seats > 0 && <Bar whole={u.seats} parts={[{ kind: "used", size: u.in_use }]} />}
          <span class="soft">{u.seats > 0 ? <><Num of={u.seats} /> configured</> : "no bound configured"}{u.seats_shadow && <strong>, not enforced: <Num of={u.seats_exceeded} /> sent without one</strong>}</span>
        </td>
      </tr>
    </>
  );
}

function Card({ upstream: u }: { upstream: Upstream }) {
  return (
    <section class="card" aria-label={`Upstream ${u.name}`} data-upstream={u.name}>
      <div class="head">
        <h2>{u.name}</h2>
        <Breaker upstream={u} />
        <Actions upstream={u} />
      </div>
      <Told about={`upstream ${u.name}`} />
      {u.retired && <p class="soft">Removed from the configuration; it finishes what runs there.</p>}
      <Table label={`Quota of ${u.name}`} className="quota">
        <thead>
          <tr>
            <th scope="col">Limit</th>
            <th scope="col" class="n"><span class="dot used" aria-hidden="true" /> Used</th>
            <th scope="col" class="n"><span class="dot reserved" aria-hidden="true" /> Reserved</th>
            <th scope="col" class="n"><span class="dot free" aria-hidden="true" /> Free</th>
            <th scope="col" class="n">All free in</th>
          </tr>
        </thead>
        <tbody>
          {u.windows.map((l, i) => <LimitRows key={i} limit={l} />)}
          <SeatRows upstream={u} />
        </tbody>
      </Table>
      <p class="soft">
        <Num of={u.attempts} /> attempts since the start, <Num of={u.throttles} /> answered 429, <Num of={u.failures} /> failed; its breaker has opened <Num of={u.breaker.trips} /> {u.breaker.trips === 1 ? "time" : "times"}.
      </p>
    </section>
  );
}

export function Quotas({ state }: { state: State }) {
  if (state.upstreams.length === 0) return <Empty>No upstream is configured.</Empty>;
  return (
    <>
      <Looker what="open or close breakers" />
      <p class="soft">Used: counted by the provider within the span that ends now. Reserved: held for requests that run. All free in: the time until nothing counts any more, if nothing is sent.</p>
      {state.upstreams.map((u) => <Card key={u.name} upstream={u} />)}
    </>
  );
}

