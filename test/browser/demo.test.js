// `millrace demo` is seen to move: users wait and are answered on the page, a moment after the start.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import path from "node:path";
import { createInterface } from "node:readline";
import test from "node:test";
import { fileURLToPath } from "node:url";
import { openPage, startBrowser } from "./stage.js";

const binary = process.env.MILLRACE_BIN ?? path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../../bin/millrace");

test("the demo moves within 10 s", async () => {
  const started = Date.now();
  const demo = spawn(binary, ["demo", "--listen", "127.0.0.1:0", "--no-open"], { stdio: ["ignore", "ignore", "pipe"] });
  const gone = once(demo, "exit");
  const browser = await startBrowser();
  try {
    let url;
    for await (const line of createInterface({ input: demo.stderr })) {
      url = line.match(/Look: (\S+)\/ui\//)?.[1];
      if (url) break;
    }
    const { page, faults } = await openPage(browser);
    await page.goto(`${url}/ui/`);
    const seq = () => page.evaluate(() => Number(document.querySelector("main")?.dataset.seq));
    await page.waitForFunction(() => Number(document.querySelector("main")?.dataset.seq) > 0);
    const first = await seq();
    await page.waitForFunction((n) => Number(document.querySelector("main")?.dataset.seq) >= n + 3, first);
    const state = await (await fetch(`${url}/api/v1/console/state`)).json();
    assert.ok(Date.now() - started < 10_000, `moved after ${Date.now() - started} ms`);
    assert.ok(state.waiting > 0 && state.today.finished > 0, JSON.stringify(state.verdict));
    assert.deepEqual(faults, []);
  } finally {
    await browser.close();
    demo.kill("SIGINT");
  }
  assert.deepEqual(await gone, [0, null]);
});
