// Starts the stage and a browser, once for each file of tests.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import axe from "axe-core";
import { chromium } from "playwright-core";

const here = path.dirname(fileURLToPath(import.meta.url));
const quiet = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];

export const operatorKey = "operator-key-of-the-stage";
export const viewerKey = "viewer-key-of-the-stage";

let folder;

/** Builds the stage once. */
async function built() {
  if (folder) return path.join(folder, "stage");
  folder = await mkdtemp(path.join(tmpdir(), "millrace-stage-"));
  const go = spawn("go", ["build", "-o", path.join(folder, "stage"), "./stage"], { cwd: here, stdio: ["ignore", "inherit", "inherit"] });
  const [code] = await once(go, "exit");
  if (code !== 0) throw new Error("the stage does not build");
  return path.join(folder, "stage");
}

/** Starts a stage: its address, its log so far, and how to end it. */
export async function startStage(...flags) {
  const child = spawn(await built(), flags, { stdio: ["pipe", "pipe", "pipe"] });
  const log = [];
  createInterface({ input: child.stderr }).on("line", (line) => log.push(line));
  const [line] = await once(createInterface({ input: child.stdout }), "line");
  return {
    url: JSON.parse(line).url,
    log: () => log.filter((l) => l.startsWith("{")).map((l) => JSON.parse(l)),
    async end() {
      const gone = once(child, "exit");
      child.stdin.end();
      await gone;
    },
  };
}

export const startBrowser = () => chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: quiet });

export async function cleanUp() {
  if (folder) await rm(folder, { recursive: true, force: true });
}

/** A page that remembers what it complained of. */
export async function openPage(browser, { width = 1280, theme = "light", ...more } = {}) {
  const context = await browser.newContext({ viewport: { width, height: width < 500 ? 844 : 900 }, colorScheme: theme, reducedMotion: "reduce", ...more });
  const page = await context.newPage();
  const faults = [];
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && faults.push(m.text()));
  page.on("pageerror", (e) => faults.push(String(e)));
  page.on("dialog", async (d) => {
    faults.push(`dialog: ${d.message()}`);
    await d.dismiss();
  });
  return { page, context, faults };
}

export const pages = ["now", "quotas", "queue", "requests", "plan", "load", "config"];

/** Goes to a page and waits until it shows something. */
export async function visit(page, url, name) {
  await page.goto(`${url}/ui/#/${name}`);
  await page.waitForFunction(() => Number(document.querySelector("main")?.dataset.seq) > 0 && !document.querySelector("main .empty, main [aria-busy=true]"));
}

/** What axe finds wrong with a page as it stands. */
export async function violations(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`);
}

/** What read finds on the page, and the gateway's frame of the same number. */
export async function same(page, url, read) {
  for (let tries = 0; tries < 20; tries++) {
    const shown = await page.evaluate(read);
    const seq = await page.evaluate(() => Number(document.querySelector("main").dataset.seq));
    const state = await (await page.request.get(`${url}/api/v1/console/state`)).json();
    if (state.seq === shown.seq && seq === shown.seq) return { shown, state };
    await page.waitForFunction((seq) => Number(document.querySelector("main").dataset.seq) > seq, shown.seq);
  }
  throw new Error("the page and the gateway never showed the same frame");
}

// What stands on the pages, read in one go.

export const nowPage = () => ({
  seq: Number(document.querySelector("main").dataset.seq),
  numbers: ["waiting", "p95", "avoided", "told"].map((id) => Number(document.querySelector(`#${id} data`).value)),
  facts: [...document.querySelectorAll(".facts data")].map((d) => Number(d.value)),
  verdict: document.getElementById("verdict").textContent,
});

export const nowState = ({ seq, waiting, lately, avoided, today: t, tasks, verdict }) => ({
  seq,
  numbers: [waiting, lately.wait_p95_ms, avoided, t.told_429],
  facts: [t.finished, t.served, t.waited, t.throttled, t.refused, ...(tasks ? [tasks.waiting, tasks.running, tasks.scheduled] : [])],
  verdict: verdict.text,
});

export const quotasPage = () => ({
  seq: Number(document.querySelector("main").dataset.seq),
  rows: [...document.querySelectorAll(".card")].map((c) => [...c.querySelectorAll(".quota tr.bare")].map((r) => [...r.querySelectorAll("data")].map((d) => Number(d.value)))),
});

export const quotasState = ({ seq, upstreams }) => ({
  seq,
  rows: upstreams.map((u) => [...u.windows.map((w) => [w.used, w.reserved, w.free, w.full_ms]), u.seats > 0 ? [u.in_use, Math.max(u.seats - u.in_use, 0)] : [u.in_use]]),
});

export const queuePage = () => {
  const numbers = (row) => [...row.querySelectorAll("data")].map((d) => Number(d.value));
  return {
    seq: Number(document.querySelector("main").dataset.seq),
    classes: [...document.querySelectorAll("tr[data-class]")].map((r) => [r.dataset.class, ...numbers(r)]),
    flows: [...document.querySelectorAll("tr[data-flow]")].map((r) => [r.dataset.flow, ...numbers(r)]),
    users: [...document.querySelectorAll('[aria-label="Table: Users"] tbody tr')].map(numbers),
  };
};

export const queueState = ({ seq, classes, queue, users }) => ({
  seq,
  classes: classes.map((c) => [c.name, c.waiting, c.running, c.oldest_ms, ...(c.rate ? [c.rate.started, c.rate.max] : []), c.finished, c.served, c.refused]),
  flows: queue.map((f) => [
    [f.class, f.tenant, f.user].join("\u0000"), f.position, f.waiting, f.running, ...(f.waiting > 0 && !f.unknown ? [f.eta_ms, f.eta_p90_ms] : []), f.oldest_ms, f.share, f.fair_share,
  ]),
  users: users.map((u) => [u.requests, u.tokens, u.share, u.wait_max_ms]),
});

export async function login(page, url, key) {
  await page.goto(`${url}/ui/`);
  await page.fill("#key", key);
  await page.keyboard.press("Enter");
}
