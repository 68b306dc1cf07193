import type { State } from "../types";
import { share } from "../format";
import { Bar, Empty, Num, Span, Table } from "../parts";

export function Queue({ state: s }: { state: State }) {
  return (
    <>
      <section aria-labelledby="classes">
        <h2 id="classes">Classes</h2>
        <Table label="Classes">
          <thead>
            <tr>
              <th scope="col">Class</th>
              <th scope="col" class="n">Waiting</th>
              <th scope="col" class="n">Ended</th>
              <th scope="col" class="n">Answered</th>
              <th scope="col" class="n">Turned away</th>
            </tr>
          </thead>
          <tbody>
            {s.classes.map((c) => (
              <tr key={c.name} data-class={c.name}>
                <th scope="row">{c.name}</th>
                <td class="n"><Num of={c.waiting} /></td>
                <td class="n"><Num of={c.finished} /></td>
                <td class="n"><Num of={c.served} /></td>
                <td class="n"><Num of={c.refused} /></td>
              </tr>
            ))}
          </tbody>
        </Table>
        <p class="soft">Waiting: now. The others: since the start.</p>
      </section>
      <section aria-labelledby="users">
        <h2 id="users">Users in the last five minutes</h2>
        {s.users.length === 0 ? (
          <Empty>Nobody's request has ended in the last five minutes.</Empty>
        ) : (
          <Table label="Users">
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
                <tr key={`${u.class}\u0000${u.tenant}\u0000${u.user}`}>
                  <th scope="row" class="cut"><span class="soft">{u.tenant} /</span> {u.user || "(none)"}</th>
                  <td>{u.class}</td>
                  <td class="n"><Num of={u.requests} /></td>
                  <td class="n"><Num of={u.tokens} /></td>
                  <td class="wide"><Bar whole={1} parts={[{ kind: "used", size: u.share }]} /> <Num of={u.share} is={share(u.share)} /></td>
                  <td class="n"><Span ms={u.wait_max_ms} /></td>
                </tr>
              ))}
            </tbody>
          </Table>
        )}
        <p class="soft">Made of the latest 1,024 requests that have ended; the 50 users with the most tokens.</p>
      </section>
    </>
  );
}
