// The pages that do more than show: the queue's orders, plans, load runs.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { cleanUp, openPage, startBrowser, startStage, violations, visit } from "./stage.js";

let browser;
let stage;

before(async () => {
  browser = await startBrowser();
  stage = await startStage("--still");
});
after(async () => {
  await stage.end();
  await browser.close();
  await cleanUp();
});

const state = async () => (await fetch(`${stage.url}/api/v1/console/state`)).json();

describe("the queue", () => {
  test("is ordered about by keyboard alone", async () => {
    const { page, context, faults } = await openPage(browser);
    await visit(page, stage.url, "queue");
    const pause = page.locator('tr[data-class="chat"] button');
    await pause.focus();
    await page.keyboard.press("Enter");
    await page.locator('tr[data-class="chat"] .pill', { hasText: "paused" }).waitFor();
    assert.equal((await state()).classes.find((c) => c.name === "chat").paused, true);
    assert.equal(await pause.evaluate((b) => b === document.activeElement), true, "the button keeps the focus");
    await page.keyboard.press("Enter");
    await page.locator('tr[data-class="chat"] .pill').waitFor({ state: "detached" });
    assert.ok(!(await state()).classes.find((c) => c.name === "chat").paused);

    // One who is not soon done: on a slow machine some of it is served meanwhile.
    const victim = (await state()).queue.filter((f) => f.class === "chat").sort((a, b) => b.waiting - a.waiting)[0];
    const row = page.locator("tr[data-flow]", { has: page.getByTitle(victim.user, { exact: true }) }).filter({ hasText: "chat" });
    await row.getByRole("button", { name: "Move up" }).focus();
    await page.keyboard.press("Enter");
    await row.locator(".pill", { hasText: "moved up" }).waitFor();
    const end = row.getByRole("button", { name: "End" });
    await end.focus();
    await page.keyboard.press("Enter");
    await page.locator("dialog h2").waitFor();
    assert.deepEqual(await violations(page), [], "dialog: axe");
    await page.keyboard.press("Escape");
    await page.locator("dialog").waitFor({ state: "detached" });
    assert.equal(await end.evaluate((b) => b === document.activeElement), true, "the focus goes back");
    assert.equal(stage.log().filter((l) => l.action === "evict").length, 0, "nothing has been ended");
    await page.keyboard.press("Enter");
    await page.getByRole("button", { name: "Yes, end them" }).focus();
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => /^\d waiting requests? of/.test(document.querySelector("#main .answer")?.textContent));
    assert.equal((await state()).queue.find((f) => f.user === victim.user && f.class === "chat" && f.waiting > 0), undefined);
    const said = stage.log().map((l) => [l.action, l.class ?? "", l.user ?? "", l.done]);
    assert.deepEqual(said, [
      ["pause class", "chat", "", true], ["resume class", "chat", "", true], ["move up", "chat", victim.user, true], ["evict", "chat", victim.user, true],
    ]);
    assert.deepEqual(faults, []);
    await context.close();
  });

  test("is searched, and says what is left out", async () => {
    const { page, context } = await openPage(browser);
    await visit(page, stage.url, "queue");
    const whole = (await state()).queue;
    const one = whole[3];
    await page.getByRole("searchbox").fill(one.user.toUpperCase());
    await page.waitForFunction(() => document.querySelectorAll("tr[data-flow]").length < 4);
    const keys = await page.locator("tr[data-flow]").evaluateAll((rows) => rows.map((r) => r.dataset.flow.split("\0").at(-1)));
    assert.deepEqual([...new Set(keys)], [one.user]);
    await page.getByRole("searchbox").fill("nobody is called so");
    await page.locator(".empty", { hasText: "Nobody matches" }).waitFor();
    // A gateway with more flows than a frame holds is asked.
    const many = { flows: [{ ...one, user: "far behind", position: 4711 }], found: 1, looked: 20_000, all: 30_000 };
    await page.route("**/flows?*", (route) => route.fulfill({ json: many }));
    await page.route("**/state", async (route) => route.fulfill({ json: { ...(await (await route.fetch()).json()), flows: 10_000 } }));
    await page.route("**/stream", (route) => route.abort());
    await page.reload();
    await page.waitForFunction(() => document.querySelector("main .filter [role=status]")?.textContent.includes("of 10,000 users"));
    await page.getByRole("searchbox").fill("far");
    await page.locator("tr[data-flow]", { hasText: "far behind" }).waitFor();
    assert.match(await page.textContent("main .filter [role=status]"), /among 20,000 of 30,000/);
    await context.close();
  });
});

describe("plan", () => {
  test("follows its sliders, shows the API's numbers, and writes nothing", async () => {
    const { page, context, faults } = await openPage(browser);
    const asked = [];
    page.on("response", (r) => r.url().includes("/api/v1/plan?") && asked.push(r));
    await visit(page, stage.url, "plan");
    const read = () => page.locator("tr[data-users]").evaluateAll((rows) => rows.map((r) => [...r.querySelectorAll("data")].map((d) => Number(d.value))));
    const want = async () =>
      (await asked.at(-1).json()).map((r) => [r.wanted_per_min, r.served_per_min, r.tokens_per_min, r.seats_most, r.wait_p50_s, r.wait_p95_s, r.requests - r.answered, r.utilization, r.jain]);
    assert.deepEqual(await read(), await want());
    const first = await page.textContent("#detail");
    await page.getByRole("button", { name: "Apply" }).click();
    const bad = (await asked.at(-1).json()).find((r) => !r.good);
    assert.equal(await page.textContent(".diff pre"), bad.diff);
    await page.getByLabel("Tokens of a prompt").focus();
    for (let i = 0; i < 3; i++) await page.keyboard.press("ArrowLeft");
    await page.waitForFunction(() => document.querySelector("[aria-busy=true]"));
    await page.waitForFunction(() => document.querySelector("[aria-busy=false]"));
    assert.match(asked.at(-1).url(), /tokens=1000&/);
    assert.deepEqual(await read(), await want());
    await page.locator("tr[data-users] button").last().click();
    assert.notEqual(await page.textContent("#detail"), first);
    assert.deepEqual(faults, []);
    await context.close();
  });
});

describe("load", () => {
  test("is started, watched, stopped, and its report runs nothing", async () => {
    const { page, context, faults } = await openPage(browser);
    await visit(page, stage.url, "load");
    assert.match(await page.textContent("main"), /No request of it reaches a provider/);
    await page.getByLabel("Users").fill("7");
    await page.getByRole("button", { name: "Start" }).click();
    await page.getByRole("button", { name: "Stop" }).waitFor();
    await page.waitForSelector(".spark .course");
    assert.deepEqual(await violations(page), [], "a run: axe");
    const again = await page.evaluate(async () => (await fetch("/api/v1/console/load/start", { method: "POST", body: "{}" })).status);
    assert.equal(again, 409);
    await page.getByRole("button", { name: "Stop" }).click();
    await page.getByRole("link", { name: "Report" }).waitFor();
    const shown = await page.evaluate(() => ["sent", "answered", "p50", "wait"].map((id) => Number(document.querySelector(`#${id} data`).value)));
    const l = await (await fetch(`${stage.url}/api/v1/console/load`)).json();
    assert.deepEqual(shown, [l.sent, l.answered, l.p50_ms, l.wait_p95_ms]);
    assert.equal(l.parameters.users, 7);
    const opened = context.waitForEvent("page");
    await page.getByRole("link", { name: "Report" }).click();
    const report = await opened;
    await report.waitForSelector("h1");
    assert.equal(await report.title(), "Load report");
    assert.equal(await report.evaluate(() => getComputedStyle(document.body).color), "rgb(17, 34, 51)");
    assert.deepEqual(
      stage.log().filter((l) => l.action.includes("load")).map((l) => [l.action, l.done]),
      [["start load", true], ["start load", false], ["stop load", true]],
    );
    assert.deepEqual(faults, [`Failed to load resource: the server responded with a status of 409 (Conflict)`]);
    await context.close();
  });
});
