// Starts the stage and a browser, once for each file of tests.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
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

export const pages = ["now", "quotas", "queue", "requests", "config"];

/** Goes to a page and waits until it shows something. */
export async function visit(page, url, name) {
  await page.goto(`${url}/ui/#/${name}`);
  await page.waitForFunction(() => Number(document.querySelector("main")?.dataset.seq) > 0 && !document.querySelector("main .empty"));
}
