import { useEffect, useState } from "preact/hooks";
import type { Setting } from "../types";
import { get } from "../api";
import { Empty, Table } from "../parts";

export function Config() {
  const [all, setAll] = useState<Setting[] | null>(null);
  const [wrong, setWrong] = useState("");
  const [part, setPart] = useState("");
  const [changed, setChanged] = useState(false);
  useEffect(() => {
    get<{ settings: Setting[] }>("settings").then((a) => setAll(a.settings), (e: Error) => setWrong(e.message));
  }, []);
  if (wrong) return <Empty>{wrong}</Empty>;
  if (!all) return <Empty>Asking the gateway …</Empty>;
  const wanted = part.trim().toLowerCase();
  const seen = all.filter((s) => (!changed || s.origin !== "default") && `${s.name} ${s.value} ${s.origin}`.toLowerCase().includes(wanted));
  return (
    <>
      <form class="filter" role="search" onSubmit={(e) => e.preventDefault()}>
        <label>Find <input type="search" value={part} onInput={(e) => setPart(e.currentTarget.value)} /></label>
        <label class="check"><input type="checkbox" checked={changed} onChange={(e) => setChanged(e.currentTarget.checked)} /> only what is not a default</label>
        <span class="soft" role="status">{seen.length} of {all.length} settings</span>
      </form>
      {seen.length === 0 ? <Empty>No setting matches.</Empty> : (
        <Table label="Settings" className="settings stack">
          <thead>
            <tr><th scope="col">Setting</th><th scope="col">Value</th><th scope="col">From</th></tr>
          </thead>
          <tbody>
            {seen.map((s) => (
              <tr key={s.name}>
                <th scope="row"><code>{s.name}</code></th>
                <td class="all" data-is="Value"><code>{s.value || "–"}</code></td>
                <td class="all" data-is="From"><span class={s.origin === "default" ? "soft" : ""}>{s.origin}</span></td>
              </tr>
            ))}
          </tbody>
        </Table>
      )}
    </>
  );
}
