import { render } from "preact";
import { useEffect, useRef } from "preact/hooks";
import { signal, effect } from "@preact/signals";
import "./app.css";
import { remove } from "./api";
import { begin, link, paused, session, state, togglePause, type Link } from "./store";
import { Empty, Pill } from "./parts";
import { Config } from "./pages/config";
import { Load } from "./pages/load";
import { Login } from "./pages/login";
import { Now } from "./pages/now";
import { Plan } from "./pages/plan";
import { Queue } from "./pages/queue";
import { Quotas } from "./pages/quotas";
import { Request } from "./pages/request";
import { Requests } from "./pages/requests";

const place = (): string => location.hash.replace(/^#\/?/, "") || "now";
const route = signal(place());
addEventListener("hashchange", () => (route.value = place()));

const titles: Record<string, string> = { now: "Now", quotas: "Quotas", queue: "Queue", requests: "Requests", request: "Request", plan: "Plan", load: "Load", config: "Configuration" };
const menu = ["now", "quotas", "queue", "requests", "plan", "load", "config"];

const pageOf = (r: string): string => r.split("/", 1)[0] ?? "now";

effect(() => {
  const waiting = state.value?.waiting ?? 0;
  document.title = `${waiting > 0 ? `(${waiting}) ` : ""}${titles[pageOf(route.value)] ?? "Millrace"} – Millrace`;
});

const theme = signal(localStorage.getItem("millrace-theme") ?? "auto");

function chooseTheme(value: string): void {
  theme.value = value;
  if (value === "auto") {
    localStorage.removeItem("millrace-theme");
    delete document.documentElement.dataset.theme;
  } else {
    localStorage.setItem("millrace-theme", value);
    document.documentElement.dataset.theme = value;
  }
}

const links: Record<Link, { kind: "good" | "busy" | "bad"; text: string }> = {
  connecting: { kind: "busy", text: "connecting" },
  live: { kind: "good", text: "live" },
  polling: { kind: "busy", text: "every 5 s" },
  down: { kind: "bad", text: "no answer" },
};

async function logout(): Promise<void> {
  try {
    await remove("session");
  } finally {
    state.value = null;
    await begin();
  }
}

function Header() {
  const s = session.value;
  const shown = links[link.value];
  const here = pageOf(route.value) === "request" ? "requests" : pageOf(route.value);
  return (
    <header>
      <a class="skip" href="#main" onClick={(e) => { e.preventDefault(); document.getElementById("main")?.focus(); }}>Skip to the page</a>
      <div class="top">
        <a class="brand" href="#/now"><img src="/ui/icon.svg" alt="" width="28" height="28" /> Millrace</a>
        <div class="tools">
          <Pill kind={paused.value ? "plain" : shown.kind}>{paused.value ? "paused" : shown.text}</Pill>
          <button aria-pressed={paused.value} onClick={togglePause}>Pause</button>
          <label><span class="hidden">Theme</span>
            <select value={theme.value} onChange={(e) => chooseTheme(e.currentTarget.value)}>
              <option value="auto">Auto</option>
              <option value="light">Light</option>
              <option value="dark">Dark</option>
            </select>
          </label>
          {s?.locked && <button onClick={() => void logout()}>Log out<span class="name"> {s.name} ({s.role})</span></button>}
        </div>
      </div>
      <nav aria-label="Pages">
        <ul>
          {menu.map((m) => <li key={m}><a href={`#/${m}`} aria-current={here === m ? "page" : undefined}>{m === "config" ? "Config" : titles[m]}</a></li>)}
        </ul>
      </nav>
    </header>
  );
}

function Page() {
  const r = route.value;
  const page = pageOf(r);
  if (page === "config") return <Config />;
  if (page === "plan") return <Plan />;
  if (page === "load") return <Load />;
  if (page === "requests") return <Requests />;
  if (page === "request") return <Request id={decode(r.slice("request/".length))} />;
  const s = state.value;
  if (!s) return <Empty>{link.value === "down" ? "The gateway does not answer. The page tries again every 5 s." : "Asking the gateway …"}</Empty>;
  if (page === "now") return <Now state={s} />;
  if (page === "quotas") return <Quotas state={s} />;
  if (page === "queue") return <Queue state={s} />;
  return <Empty>There is no such page.</Empty>;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function App() {
  const heading = useRef<HTMLHeadingElement>(null);
  const first = useRef(true);
  const r = route.value;
  useEffect(() => {
    if (first.current) first.current = false;
    else heading.current?.focus();
    scrollTo(0, 0);
  }, [r]);
  const s = session.value;
  if (s && !s.in) return <Login />;
  return (
    <>
      <Header />
      <main id="main" tabIndex={-1} data-seq={state.value?.seq ?? 0}>
        <h1 ref={heading} tabIndex={-1}>{titles[pageOf(r)] ?? "Not found"}</h1>
        {s ? <Page /> : <Empty>{link.value === "down" ? "The gateway does not answer. The page tries again every 5 s." : "Asking the gateway …"}</Empty>}
      </main>
      <footer class="soft">Millrace {s?.version}. <a href="/ui/licenses.txt">Licenses</a></footer>
    </>
  );
}

const root = document.getElementById("root");
if (root) render(<App />, root);
void begin();
