// The reports of load and plan, opened from disk without a network in real Chromium. They are made by the built binary: a few minutes
// of users on two simulators, one with a gateway in front, at 20 times the speed. SHOTS names a folder for pictures of them.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, describe, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import axe from "axe-core";
import { openPage, startBrowser } from "./stage.js";

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), "../..");
const speed = 20;
let folder, browser;

/** Runs a command to its end and returns its output. */
async function ran(command, ...args) {
  const child = spawn(command, args, { cwd: root, stdio: ["ignore", "pipe", "pipe"] });
  let out = "";
  child.stdout.on("data", (text) => (out += text));
  child.stderr.on("data", (text) => (out += text));
  const [code] = await once(child, "close");
  assert.equal(code, 0, `${command} ${args.join(" ")}: ${out}`);
  return out;
}

/** Starts a server, and returns the address it tells and how to end it. */
async function serving(millrace, ...args) {
  const child = spawn(millrace, args, { cwd: folder, stdio: ["ignore", "pipe", "pipe"] });
  const gone = once(child, "exit");
  const url = await new Promise((found, failed) => {
    const told = [];
    const look = (line) => {
      told.push(line);
      const address = / on (http:\/\/127\.0\.0\.1:\d+)/.exec(line);
      if (address) found(address[1]);
    };
    for (const input of [child.stdout, child.stderr]) createInterface({ input }).on("line", look);
    gone.then(() => failed(new Error(`millrace ${args.join(" ")} ended: ${told.join("\n")}`)));
  });
  return {
    url,
    async end() {
      child.kill("SIGTERM");
      await gone;
    },
  };
}

/** Lets users loose on a simulator and on a gateway before another one. */
async function makeLoad(millrace) {
  const limits = ["--requests", "60", "--tokens", "180000", "--seats", "15", "--window", "bucket", "--burst", "6s", "--latency", "2s", "--sigma", "0.3", "--speed", String(speed)];
  const started = [];
  const start = async (...args) => {
    started.push(await serving(millrace, ...args));
    return started.at(-1).url;
  };
  try {
    const straight = await start("sim", "--listen", "127.0.0.1:0", ...limits);
    const judge = await start("sim", "--listen", "127.0.0.1:0", ...limits);
    await writeFile(path.join(folder, "millrace.yaml"), [
      "listen: 127.0.0.1:0",
      "upstreams:",
      `  - {name: main, base_url: "${judge}/v1", api_key: key-of-this-test, quota: {requests: ${60 * speed}/m, tokens: ${180_000 * speed}/m, seats: 15, window: bucket, burst: ${6000 / speed}ms}}`,
      "classes:",
      "  chat: {weight: 6}",
      "  analysis: {weight: 3}",
      "routes:",
      '  - {model: "*", upstreams: [main]}',
      "",
    ].join("\n"));
    const gateway = await start("serve", "--config", "millrace.yaml");
    return await ran(millrace, "load", "--quiet", "--together", "--target", `straight=${straight}/v1`, "--target", `gateway=${gateway}/v1`, "--judge", `straight=${straight}`, "--judge", `gateway=${judge}`,
      "--speed", String(speed), "--users", "40", "--think", "15s", "--tokens", "2500", "--tokens-sigma", "0.3", "--stream-share", "0.5", "--warmup", "30s", "--duration", "3m",
      "--mix", "/v1/chat/completions:weight=7,class=chat", "--mix", "/v1/chat/completions:weight=3,class=analysis", "--interval", "5s", "--html", path.join(folder, "load.html"), "--csv", path.join(folder, "load.csv"));
  } finally {
    for (const s of started.reverse()) await s.end();
  }
}

let text;

before(async () => {
  folder = await mkdtemp(path.join(tmpdir(), "millrace-reports-"));
  const millrace = path.join(folder, "millrace");
  await ran("go", "build", "-o", millrace, "./cmd/millrace");
  text = await makeLoad(millrace);
  await ran(millrace, "plan", "--users", "5,10,20,40", "--duration", "10m", "--no-advice", "--html", path.join(folder, "plan.html"));
  await ran(millrace, "plan", "--for-users", "40", "--duration", "10m", "--html", path.join(folder, "quota.html"));
  browser = await startBrowser();
});
after(async () => {
  await browser?.close();
  await rm(folder, { recursive: true, force: true });
});

/** Opens a report from disk, with the network off. */
async function open(name, look) {
  const opened = await openPage(browser, look);
  opened.asked = [];
  opened.page.on("request", (r) => opened.asked.push(r.url()));
  await opened.context.setOffline(true);
  await opened.page.goto(pathToFileURL(path.join(folder, `${name}.html`)).href);
  return opened;
}

async function violations(page) {
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  return violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join(" ")}`);
}

const tooWide = (page) => page.evaluate(() => document.documentElement.scrollWidth - innerWidth);

for (const name of ["load", "plan", "quota"]) {
  describe(`the report of ${name}`, () => {
    for (const width of [1280, 390]) {
      for (const theme of ["light", "dark"]) {
        test(`is sound at ${width} px, ${theme}`, async () => {
          const { page, context, faults, asked } = await open(name, { width, theme });
          assert.deepEqual(await violations(page), []);
          assert.ok((await tooWide(page)) <= 0, `${await tooWide(page)} px too wide`);
          const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor.match(/\d+/g).map(Number)[0] < 128);
          assert.equal(dark, theme === "dark");
          assert.ok((await page.locator("figure svg").count()) >= 2, "no plots");
          assert.deepEqual(asked.map((url) => new URL(url).protocol), asked.map((url) => (url.startsWith("data:") ? "data:" : "file:")));
          assert.deepEqual(faults, []);
          if (process.env.SHOTS) {
            await mkdir(process.env.SHOTS, { recursive: true });
            await page.screenshot({ path: path.join(process.env.SHOTS, `${name}-${width}-${theme}.png`), clip: { x: 0, y: 0, width, height: width < 500 ? 2600 : 1800 }, fullPage: true });
            await page.screenshot({ path: path.join(process.env.SHOTS, `full-${name}-${width}-${theme}.png`), fullPage: true });
          }
          await context.close();
        });
      }
    }

    test("prints on white, whatever the theme", async () => {
      const { page, context, faults } = await open(name, { width: 720, theme: "dark" });
      await page.emulateMedia({ media: "print" });
      const [ground, ink] = await page.evaluate(() => {
        const { backgroundColor, color } = getComputedStyle(document.body);
        return [backgroundColor, color].map((c) => c.match(/[\d.]+/g).map(Number));
      });
      assert.ok(ground[3] === 0 || Math.min(...ground.slice(0, 3)) > 240, `printed on ${ground}`);
      assert.ok(Math.max(...ink.slice(0, 3)) < 100, `printed in ${ink}`);
      assert.ok((await tooWide(page)) <= 0, `${await tooWide(page)} px too wide`);
      assert.deepEqual(await violations(page), []);
      const pdf = await page.pdf({ format: "A4" });
      assert.ok(pdf.length > 20_000);
      if (process.env.SHOTS) await writeFile(path.join(process.env.SHOTS, `${name}.pdf`), pdf);
      assert.deepEqual(faults, []);
      await context.close();
    });

    test("is used by keyboard alone", async () => {
      const { page, context } = await open(name, {});
      if (await page.locator("nav a").count()) {
        await page.keyboard.press("Tab");
        const first = await page.evaluate(() => document.activeElement.getAttribute("href"));
        assert.match(first, /^#/);
        await page.keyboard.press("Enter");
        assert.equal(await page.evaluate(() => location.hash), first);
      }
      const stuck = await page.evaluate(() => [...document.querySelectorAll(".scroll, .wide")].filter((e) => e.scrollWidth > e.clientWidth && e.tabIndex < 0).length);
      assert.equal(stuck, 0, "a table that scrolls cannot be reached");
      await context.close();
    });
  });
}

test("the compression is told everywhere", async () => {
  const { page, context } = await open("load", {});
  const said = await page.textContent("header");
  assert.match(said, /passed 20 times as fast/);
  assert.match(said, /gateway, not comparable: A Millrace gateway answered/);
  assert.equal(await page.locator("header .warn").count(), 2);
  assert.match(text, /passed 20 times as fast/);
  const [head, ...rows] = (await readFile(path.join(folder, "load.csv"), "utf8")).trim().split("\n").map((line) => line.split(","));
  const at = head.indexOf("speed");
  assert.ok(rows.length > 200 && rows.every((row) => row[at] === "20"), `${rows.length} rows`);
  const measured = rows.map((row) => Number(row[head.indexOf("intended_s")]));
  assert.ok(Math.max(...measured) > 180 && Math.max(...measured) < 215, "the times are not those of the run");
  await context.close();
});
