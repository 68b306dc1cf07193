import { useEffect, useState } from "preact/hooks";
import type { Story } from "../types";
import { get } from "../api";
import { moment } from "../format";
import { Empty, Num, Pill, Span, Table } from "../parts";
import { paused, state } from "../store";

export const good = new Set(["served", "cached", "coalesced"]);
const left = new Set(["canceled", "disconnected"]);

export function Outcome({ of }: { of: Story }) {
  const kind = good.has(of.outcome) ? "good" : left.has(of.outcome) ? "plain" : "bad";
  return <Pill kind={kind}>{of.outcome.replaceAll("_", " ")}</Pill>;
}

export function Requests() {
  const [all, setAll] = useState<Story[] | null>(null);
  const [wrong, setWrong] = useState("");
  const beat = Math.floor((state.value?.seq ?? 0) / 2); // every other second
  useEffect(() => {
    if (paused.value && all) return;
    get<{ requests: Story[] }>("requests?limit=100").then(
      (a) => {
        setAll(a.requests);
        setWrong("");
      },
      (e: Error) => setWrong(e.message),
    );
  }, [beat]);
  if (wrong && !all) return <Empty>{wrong}</Empty>;
  if (!all) return <Empty>Asking the gateway …</Empty>;
  if (all.length === 0) return <Empty>No request has ended yet.</Empty>;
  return (
    <>
      <p class="soft lead">The latest 100 that have ended, last first. They are kept in memory, and the text of none.</p>
      <Table label="Latest requests" className="requests stack">
        <thead>
          <tr>
            <th scope="col">Arrived</th>
            <th scope="col">Ended</th>
            <th scope="col" class="n">Waited</th>
            <th scope="col" class="n">In all</th>
            <th scope="col">User</th>
            <th scope="col">Class</th>
            <th scope="col">Model</th>
            <th scope="col">Upstream</th>
            <th scope="col" class="n">Tokens</th>
          </tr>
        </thead>
        <tbody>
          {all.map((r) => (
            <tr key={r.id}>
              <th scope="row"><a href={`#/request/${encodeURIComponent(r.id)}`}>{moment(r.arrived)}<span class="hidden">, request {r.id}</span></a></th>
              <td><Outcome of={r} /></td>
              <td class="n" data-is="Waited"><Span ms={r.queued_ms} /></td>
              <td class="n" data-is="In all"><Span ms={r.total_ms} /></td>
              <td class="cut all" data-is="User">{r.user || "–"}</td>
              <td class="cut" data-is="Class">{r.class}</td>
              <td class="cut rest">{r.model}</td>
              <td class="cut rest">{r.upstream || "–"}</td>
              <td class="n" data-is="Tokens"><Num of={r.used.input + r.used.output} /></td>
            </tr>
          ))}
        </tbody>
      </Table>
    </>
  );
}
