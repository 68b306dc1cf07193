// Takes the pictures of the guide, from the real gateway under load: node guide.js FOLDER

import path from "node:path";
import { keyring, keys, startGateway, startUsers } from "./gateway.js";
import { cleanUp, login, openPage, startBrowser, visit } from "./stage.js";

const to = process.argv[2];
if (!to) throw new Error("usage: node guide.js FOLDER");
const gateway = await startGateway(() => `
upstreams:
  - {name: main, provider: sim, quota: {requests: 240/m, tokens: 180000/m, seats: 15, window: bucket, burst: 5s}}
  - {name: spare, provider: sim, quota: {requests: 60/m, seats: 4}}
classes: {chat: {weight: 6}, analysis: {weight: 3, rate: 60/m}, health: {rate: 1/m}}
routes: [{model: "gpt-4o-mini", upstreams: [main]}, {model: "*", upstreams: [main, spare], on_full: spill}]
${keyring}
limits: {drain: 1s}
`);
const browser = await startBrowser();
const names = ["ann", "bob", "chandra", "dmitri", "elif", "fatou", "goran", "hana", "ines", "jun", "kofi", "lena", "mateo", "nour", "olga", "priya"];
const users = startUsers(gateway.url, Array.from({ length: 64 }, (_, i) => (i < 40 ? `${names[i % 16]}@example.com` : names[i % 16])));
const waited = (ms) => new Promise((next) => setTimeout(next, ms));
await waited(75_000);

const wanted = { now: [[1280, "light"], [1280, "dark"]], quotas: [[1280, "light"]], queue: [[1280, "light"], [390, "dark"]], request: [[1280, "light"]], plan: [[1280, "light"], [390, "light"]], load: [[1280, "dark"]] };
let ran = false;
for (const [name, looks] of Object.entries(wanted)) {
  for (const [width, theme] of looks) {
    const { page, context } = await openPage(browser, { width, theme });
    if (name === "queue" && width === 1280) await page.setViewportSize({ width, height: 720 });
    await login(page, gateway.url, keys.ops);
    await page.waitForSelector("#waiting");
    if (name === "request") {
      const { requests } = await (await page.request.get(`${gateway.url}/api/v1/console/requests?limit=200`)).json();
      await visit(page, gateway.url, `request/${requests.find((r) => r.queued_ms > 2000 && r.outcome === "served").id}`);
    } else await visit(page, gateway.url, name);
    if (name === "load" && !ran) {
      ran = true;
      await page.getByLabel("Seconds").fill("25");
      await page.getByLabel("Requests a minute of each").fill("20");
      await page.getByRole("button", { name: "Start" }).click();
      await page.getByRole("button", { name: "Stop" }).waitFor();
      await waited(20_000);
    }
    await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: path.join(to, `console-${name}-${width}-${theme}.png`) });
    await context.close();
  }
}
await users.end();
await gateway.end();
await browser.close();
await cleanUp();
