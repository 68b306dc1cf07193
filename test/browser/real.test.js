// The console of the real gateway, while 200 users are on it.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { ask, evil, keys, startGateway, startUsers } from "./gateway.js";
import { cleanUp, login, nowPage, nowState, openPage, queuePage, queueState, quotasPage, quotasState, same, startBrowser, violations, visit } from "./stage.js";

let browser;
let gateway;
let users;
let hostile; // what upstreams answered to requests whose every word is markup

before(async () => {
  [browser, gateway] = await Promise.all([startBrowser(), startGateway()]);
  const names = Array.from({ length: 200 }, (_, i) => `user-${i}`);
  names[7] = evil.user;
  // The page lists those who got most: one long prompt, before the others come, makes the hostile user the first of them.
  const [status] = await ask(gateway.url, evil.user, { prompt: evil.prompt.repeat(300) });
  assert.equal(status, 200);
  users = startUsers(gateway.url, names);
  hostile = Promise.all([evil.user, "plain"].map((user) => ask(gateway.url, user, { model: `fails${evil.model}`, prompt: evil.prompt })));
});
after(async () => {
  await users.end();
  await gateway.end();
  await browser.close();
  await cleanUp();
});

const api = async (path, key = keys.ops) => (await fetch(`${gateway.url}/api/v1/${path}`, { headers: { Authorization: `Bearer ${key}` } })).json();
const state = () => api("console/state");

/** Waits until the gateway's state satisfies the condition, and returns it. */
async function until(condition, what) {
  for (let end = Date.now() + 20_000; Date.now() < end; await new Promise((next) => setTimeout(next, 100))) {
    const s = await state();
    if (condition(s)) return s;
  }
  throw new Error(`not within 20 s: ${what}`);
}

/** Waits until a user's chat flow satisfies the condition, and returns it. */
async function flow(user, condition) {
  for (let end = Date.now() + 10_000; Date.now() < end; ) {
    const f = (await api(`console/flows?class=chat&find=${user}`)).flows[0];
    if (condition(f)) return f;
  }
  throw new Error(`not within 10 s: the flow of ${user}`);
}

/** The latest line of the audit about an action, when it has come. */
async function said(action) {
  for (let end = Date.now() + 2000; Date.now() < end; await new Promise((next) => setTimeout(next, 20))) {
    const line = gateway.audit().findLast((l) => l.action === action);
    if (line) return line;
  }
  throw new Error(`the log does not say ${action}`);
}

/** An operator's page. */
async function operator(options) {
  const opened = await openPage(browser, options);
  await opened.page.addInitScript(() => {
    window.refused = [];
    document.addEventListener("securitypolicyviolation", (e) => window.refused.push(e.violatedDirective));
  });
  await login(opened.page, gateway.url, keys.ops);
  await opened.page.waitForSelector("#waiting");
  return opened;
}

describe("under 200 users", () => {
  test("every number is the API's at that instant", async () => {
    await until((s) => s.waiting > 100 && s.lately.finished > 20, "a queue");
    const { page, context, faults } = await operator();
    for (const [name, read, want] of [["now", nowPage, nowState], ["quotas", quotasPage, quotasState], ["queue", queuePage, queueState]]) {
      await visit(page, gateway.url, name);
      for (let round = 0; round < 2; round++) {
        const { shown, state } = await same(page, gateway.url, read);
        assert.deepEqual(shown, want(state), name);
        await page.waitForFunction((seq) => Number(document.querySelector("main").dataset.seq) > seq, shown.seq);
      }
    }
    await visit(page, gateway.url, "config");
    const { settings } = await api("console/settings");
    assert.deepEqual(
      await page.locator(".settings tbody tr").evaluateAll((rows) => rows.map((r) => [...r.children].map((c) => c.textContent))),
      settings.map((s) => [s.name, s.value || "–", s.origin]),
    );
    assert.deepEqual(faults, []);
    await context.close();
  });

  test("a request's page is what the API tells of it", async () => {
    const { page, context, faults } = await operator();
    const { requests } = await api("console/requests?limit=500");
    const waited = requests.find((r) => r.queued_ms > 1000 && r.outcome === "served");
    assert.ok(waited, "somebody has waited and was served");
    await visit(page, gateway.url, `request/${waited.id}`);
    const r = await api(`console/requests/${waited.id}`);
    assert.match(await page.textContent("#summary"), /in the queue/);
    assert.equal(await page.textContent("#summary"), r.summary);
    assert.ok(r.by.length > 0 && Math.abs(r.by.reduce((sum, s) => sum + s.ms, 0) - r.queued_ms) < 0.1, JSON.stringify(r.by));
    assert.deepEqual(await page.locator("#waits data").evaluateAll((all) => all.map((d) => Number(d.value))), r.by.map((s) => s.ms));
    assert.deepEqual(await page.locator("#why li").allTextContents(), r.why);
    assert.deepEqual(await page.locator('[aria-label="Table: Attempts"] tbody tr').evaluateAll((rows) => rows.map((t) => [...t.querySelectorAll("data")].map((d) => Number(d.value)))),
      r.tries.map((t) => [t.start_ms, ...(t.first_byte_ms > 0 ? [t.first_byte_ms] : []), t.total_ms, t.estimated.input, t.estimated.output, t.used.input, t.used.output]));
    assert.deepEqual(faults, []);
    await context.close();
  });

  test("each action does what it says, at once, and is in the log", async () => {
    const { page, context, faults } = await operator();
    await visit(page, gateway.url, "queue");
    const by = (line) => [line.by, line.role, line.done];

    await page.locator('tr[data-class="analysis"]').getByRole("button", { name: "Pause" }).click();
    await page.locator('tr[data-class="analysis"] .pill', { hasText: "paused" }).waitFor();
    const paused = (await state()).classes.find((c) => c.name === "analysis");
    assert.equal(paused.paused, true);
    assert.deepEqual([...by(await said("pause class")), (await said("pause class")).class], ["ops", "operator", true, "analysis"]);
    const still = await until((s) => s.classes.find((c) => c.name === "analysis").running === 0, "what runs ends");
    const before = still.classes.find((c) => c.name === "analysis").served;
    await until((s) => s.seq > still.seq + 2, "two more frames");
    assert.equal((await state()).classes.find((c) => c.name === "analysis").served, before, "nothing of a paused class starts");
    await page.locator('tr[data-class="analysis"]').getByRole("button", { name: "Resume" }).click();
    await until((s) => s.classes.find((c) => c.name === "analysis").served > before, "it runs again");
    assert.deepEqual(by(await said("resume class")), ["ops", "operator", true]);

    // One who has three requests waiting, and does not ask again.
    const sitter = "sitter";
    const answers = [1, 2, 3].map(() => ask(gateway.url, sitter));
    await flow(sitter, (f) => f?.waiting === 3);
    await page.getByRole("searchbox").fill(sitter);
    await page.locator("tr[data-flow]", { hasText: "sitter" }).getByRole("button", { name: "End" }).click();
    await page.locator("dialog", { hasText: "3 requests wait in the class chat" }).waitFor();
    await page.getByRole("button", { name: "Yes, end them" }).click();
    await page.locator(".answer", { hasText: "3 waiting requests of sitter ended" }).waitFor();
    await flow(sitter, (f) => !f || f.waiting === 0);
    assert.deepEqual((await Promise.all(answers)).map(([status]) => status), [503, 503, 503]);
    const evicted = await said("evict");
    assert.deepEqual([...by(evicted), evicted.user, evicted.requests], ["ops", "operator", true, "sitter", 3]);

    const last = ask(gateway.url, "in-a-hurry");
    const { position: place } = await flow("in-a-hurry", (f) => f?.waiting === 1);
    await page.getByRole("searchbox").fill("in-a-hurry");
    await page.locator("tr[data-flow]", { hasText: "in-a-hurry" }).getByRole("button", { name: "Move up" }).click();
    await page.locator(".answer", { hasText: "in-a-hurry" }).waitFor();
    const moved = await flow("in-a-hurry", () => true);
    assert.ok(!moved || moved.waiting === 0 || (moved.moved_up && moved.position < place), `${place} ${JSON.stringify(moved)}`);
    const others = (await state()).lately.finished;
    assert.equal((await last)[0], 200);
    assert.ok((await state()).lately.finished - others < 100, "it did not wait for all that were before it");
    assert.deepEqual([...by(await said("move up")), (await said("move up")).user], ["ops", "operator", true, "in-a-hurry"]);

    await visit(page, gateway.url, "quotas");
    const card = page.locator('[data-upstream="main"]');
    await card.getByRole("button", { name: "Open breaker" }).click();
    await card.getByRole("button", { name: /^Yes/ }).click();
    await card.locator(".pill", { hasText: "breaker open" }).waitFor();
    const main = async () => (await state()).upstreams.find((u) => u.name === "main");
    assert.deepEqual([(await main()).breaker.state, (await main()).breaker.by_hand, (await main()).breaker.reason], ["open", true, "opened by hand"]);
    assert.match(await card.textContent(), /opened by hand.*until it is closed by hand/);
    await until((s) => s.upstreams.find((u) => u.name === "main").in_use === 0, "what runs there ends");
    const tried = (await main()).attempts;
    await until((s) => s.verdict.text.includes("shut off by hand"), "the verdict says so");
    assert.equal((await main()).attempts, tried, "nothing is sent to it");
    await card.getByRole("button", { name: "Close breaker" }).click();
    await card.getByRole("button", { name: /^Yes/ }).click();
    await card.locator(".pill", { hasText: "answers" }).waitFor();
    await until((s) => s.upstreams.find((u) => u.name === "main").attempts > tried, "it is asked again");
    for (const action of ["trip breaker", "reset breaker"]) assert.deepEqual([...by(await said(action)), (await said(action)).upstream], ["ops", "operator", true, "main"]);
    assert.deepEqual(faults, []);
    await context.close();
  });

  test("nothing that clients or upstreams say is executed", async () => {
    const { page, context, faults } = await operator();
    assert.ok((await hostile).every(([status]) => status >= 400));
    const { requests } = await api("console/requests?limit=500");
    const bad = requests.filter((r) => r.model.includes("<script>"));
    assert.ok(bad.length >= 2, "the hostile requests are listed");
    assert.equal((await state()).users[0].user, evil.user, "the hostile user got most");
    for (const name of ["now", "quotas", "queue", "requests", "config", "plan", ...bad.slice(0, 2).map((r) => `request/${encodeURIComponent(r.id)}`)]) {
      await visit(page, gateway.url, name);
      assert.ok(!(await page.title()).includes("owned"), name);
      assert.doesNotMatch(await page.textContent("main"), /NaN|undefined|\[object/, name);
      assert.deepEqual(await page.evaluate(() => window.refused), [], name);
      assert.equal(await page.locator("iframe, main img, main script, svg[onload]").count(), 0, name);
    }
    await visit(page, gateway.url, "queue");
    await page.getByRole("searchbox").fill("<img");
    await page.locator("tr[data-flow]", { hasText: evil.user }).waitFor();
    assert.deepEqual(faults, []);
    await context.close();
  });

  test("a viewer sees the same, and cannot act", async () => {
    const { page, context } = await openPage(browser);
    await login(page, gateway.url, keys.desk);
    await page.waitForSelector("#waiting");
    await visit(page, gateway.url, "queue");
    const { shown, state: seen } = await same(page, gateway.url, queuePage);
    assert.deepEqual(shown, queueState(seen));
    assert.equal(await page.locator("main button").count(), 0);
    const before = gateway.audit().length;
    const paths = ["upstreams/main/trip", "upstreams/main/reset", "classes/chat/pause", "classes/chat/resume", "flows/move-up", "flows/evict", "load/start", "load/stop"];
    const statuses = await page.evaluate(async (all) => {
      const answers = [];
      for (const path of all) answers.push((await fetch(`/api/v1/console/${path}`, { method: "POST", body: '{"class":"chat","tenant":"acme","user":"user-1"}' })).status);
      return answers;
    }, paths);
    assert.deepEqual(statuses, paths.map(() => 403));
    const lines = gateway.audit().slice(before);
    assert.deepEqual(lines.map((l) => [l.action, l.by, l.role, l.why]), paths.map(() => ["refused", "desk", "viewer", "a viewer"]));
    await context.close();
  });

  test("a client's key does not open the console", async () => {
    const answer = await fetch(`${gateway.url}/api/v1/console/session`, { method: "POST", body: JSON.stringify({ key: keys.app }) });
    assert.equal(answer.status, 401);
    assert.equal((await fetch(`${gateway.url}/api/v1/plan`, { headers: { Authorization: `Bearer ${keys.app}` } })).status, 401);
  });

  test("a page of another site is refused", async () => {
    const { page, context } = await operator();
    const before = gateway.audit().length;
    const other = gateway.url.replace("127.0.0.1", "localhost");
    await page.goto(`${other}/nothing-here`);
    const statuses = await page.evaluate(async (url) => {
      for (const path of ["upstreams/main/trip", "classes/chat/pause", "flows/evict", "load/start"]) await fetch(`${url}/api/v1/console/${path}`, { method: "POST", mode: "no-cors", credentials: "include", body: "{}" }).catch(() => {});
      return fetch(`${url}/api/v1/console/state`, { credentials: "include" }).then((r) => r.status, () => "nothing");
    }, gateway.url);
    assert.equal(statuses, "nothing");
    const lines = gateway.audit().slice(before);
    assert.ok(lines.length >= 5 && lines.every((l) => l.action === "refused" && l.why === "another site"), JSON.stringify(lines));
    const s = await state();
    assert.deepEqual([s.upstreams[0].breaker.state, s.classes.some((c) => c.paused)], ["closed", false]);
    await context.close();
  });
});

describe("plan and load", () => {
  test("a plan is that of the running configuration", async () => {
    const { page, context, faults } = await operator();
    const asked = [];
    page.on("response", (r) => r.url().includes("/api/v1/plan?") && asked.push(r));
    await visit(page, gateway.url, "plan");
    await page.getByLabel("Model", { exact: true }).selectOption("*");
    await page.waitForFunction(() => document.querySelector("[aria-busy=true]"));
    await page.waitForFunction(() => document.querySelector("[aria-busy=false]"));
    const rows = await asked.at(-1).json();
    const shown = await page.locator("tr[data-users]").evaluateAll((all) => all.map((r) => [...r.querySelectorAll("data")].map((d) => Number(d.value))));
    assert.deepEqual(shown, rows.map((r) => [r.wanted_per_min, r.served_per_min, r.tokens_per_min, r.seats_most, r.wait_p50_s, r.wait_p95_s, r.requests - r.answered, r.utilization, r.jain]));
    const bad = rows.find((r) => !r.good);
    assert.match(bad.nearest, /upstreams\.main\.quota|classes\./);
    assert.ok((await page.textContent("#verdict")).includes(bad.nearest));
    assert.ok(bad.diff.split("\n").some((l) => l.startsWith("+")), bad.diff);
    await page.getByRole("button", { name: "Apply" }).click();
    assert.equal(await page.textContent(".diff pre"), bad.diff);
    assert.deepEqual(await violations(page), [], "axe");
    assert.deepEqual(faults, []);
    await context.close();
  });

  test("a load run is watched to its report, and takes nothing from the gateway", async () => {
    await users.end();
    await until((s) => s.outstanding === 0 && s.waiting === 0, "the users are gone");
    const before = (await state()).upstreams.map((u) => u.attempts);
    const { page, context, faults } = await operator({ width: 390, theme: "dark" });
    await visit(page, gateway.url, "load");
    for (const [label, value] of [["Users", 10], ["Requests a minute of each", 60], ["Seconds", 5], ["Tokens of a prompt", 300]]) await page.getByLabel(label, { exact: true }).fill(String(value));
    await page.getByRole("button", { name: "Start" }).click();
    await page.getByRole("button", { name: "Stop" }).waitFor();
    await page.waitForFunction(() => Number(document.querySelector("#answered data")?.value) > 0);
    assert.deepEqual(await violations(page), [], "a run: axe");
    await page.getByRole("link", { name: "Report" }).waitFor({ timeout: 30_000 });
    assert.doesNotMatch(await page.textContent("main"), /NaN|undefined|\[object/);
    const l = await api("console/load");
    const shown = await page.evaluate(() => ["sent", "answered", "p50", "wait"].map((id) => Number(document.querySelector(`#${id} data`).value)));
    assert.deepEqual(shown, [l.sent, l.answered, l.p50_ms, l.wait_p95_ms]);
    assert.ok(l.answered > 20 && l.errors === 0, JSON.stringify({ ...l, points: [] }));
    assert.deepEqual((await state()).upstreams.map((u) => u.attempts), before, "the gateway's own upstreams were left alone");
    const opened = context.waitForEvent("page");
    await page.getByRole("link", { name: "Report" }).click();
    const report = await opened;
    await report.waitForSelector("h1");
    assert.match(await report.textContent("body"), /10 users/);
    assert.deepEqual([(await said("start load")).by, (await said("start load")).done], ["ops", true]);
    assert.deepEqual(faults, []);
    await context.close();
  });
});
