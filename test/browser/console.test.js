// The console as a person meets it: real Chromium, a server that is acted.

import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import {
  cleanUp, login, nowPage, nowState, openPage, operatorKey, pages, queuePage, queueState, quotasPage, quotasState, same, startBrowser, startStage, viewerKey, violations, visit,
} from "./stage.js";

let browser;

before(async () => {
  browser = await startBrowser();
});
after(async () => {
  await browser.close();
  await cleanUp();
});

describe("every page", () => {
  let stage;
  before(async () => {
    stage = await startStage("--still");
  });
  after(() => stage.end());

  for (const width of [1280, 390]) {
    for (const theme of ["light", "dark"]) {
      test(`is sound at ${width} px, ${theme}`, async () => {
        const { page, context, faults } = await openPage(browser, { width, theme });
        const { requests } = await (await fetch(`${stage.url}/api/v1/console/requests?limit=20`)).json();
        for (const name of [...pages, `request/${requests[7].id}`]) {
          await visit(page, stage.url, name);
          assert.deepEqual(await violations(page), [], `${name}: axe`);
          assert.doesNotMatch(await page.textContent("main"), /NaN|undefined|\[object/, name);
          const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(wide <= 0, `${name} is ${wide} px too wide`);
        }
        await visit(page, stage.url, "now");
        for (const summary of await page.locator("summary").all()) await summary.click();
        assert.equal(await page.locator(".chart tbody tr").count(), 59);
        assert.deepEqual(await violations(page), [], "chart as a table: axe");
        assert.deepEqual(faults, []);
        await context.close();
      });
    }
  }

  test("a request's timeline tells what it waited for in vain, and what it did not wait for", async () => {
    const { page, context } = await openPage(browser);
    const { requests } = await (await fetch(`${stage.url}/api/v1/console/requests?limit=20`)).json();
    const told = await (await fetch(`${stage.url}/api/v1/console/requests/${requests[7].id}`)).json();
    const bare = { ...told, by: undefined, tries: undefined, attempts: 0, queued_ms: 0, first_byte_ms: 0, total_ms: 10 };
    const failed = { ...told.tries[0], number: 1, kind: "throttle", queued_ms: 1000, start_ms: 1000, first_byte_ms: 0, total_ms: 500 };
    for (const [story, want] of [
      [{ ...bare, outcome: "hold_expired", reason: "seats", attempts: 1, tries: [failed], queued_ms: 21_000, total_ms: 21_500 }, ["1.5 s – 22 s", "waits for a seat"]],
      [{ ...bare, outcome: "canceled", reason: "tokens", queued_ms: 5000, total_ms: 5000 }, ["0 s – 5.0 s", "waits for tokens"]],
      [{ ...bare, outcome: "cached", reason: "" }, ["0 s – 10 ms", "answered from the cache"]],
      [{ ...bare, outcome: "refused", reason: "turn" }, ["0 s – 10 ms", "turned away"]],
    ]) {
      await page.route("**/console/requests/*", (route) => route.fulfill({ json: story }));
      await page.goto(`${stage.url}/ui/#/request/${story.outcome}`);
      await page.locator(".pill", { hasText: story.outcome.replaceAll("_", " ") }).waitFor();
      const last = page.locator(".timeline li").last();
      assert.deepEqual([await last.locator(".when").textContent(), await last.locator(".what").textContent()], want, story.outcome);
      await page.unroute("**/console/requests/*");
    }
    await context.close();
  });

  test("is used by keyboard alone", async () => {
    const { page, context } = await openPage(browser);
    await visit(page, stage.url, "now");
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to the page");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "main");
    await page.locator("nav a", { hasText: "Quotas" }).focus();
    await page.keyboard.press("Enter");
    await page.waitForSelector('[data-upstream="openai"]');
    assert.equal(await page.evaluate(() => document.activeElement.tagName), "H1");
    assert.equal(await page.locator("nav a[aria-current=page]").textContent(), "Quotas");
    await page.locator('[data-upstream="openai"] .actions button').focus();
    await page.keyboard.press("Enter");
    assert.match(await page.evaluate(() => document.activeElement.textContent), /^Yes/);
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter"); // No
    const left = await (await fetch(`${stage.url}/api/v1/console/state`)).json();
    assert.equal(left.upstreams[1].breaker.state, "closed");
    await context.close();
  });

  test("weighs at most 120 KB on the wire, and asks nobody else", async () => {
    const { page, context } = await openPage(browser);
    const hosts = new Set();
    const sizes = [];
    page.on("response", (r) => {
      hosts.add(new URL(r.url()).origin);
      if (r.url().includes("/ui/")) sizes.push(r.allHeaders().then((h) => Number(h["content-length"] ?? 0)));
    });
    await visit(page, stage.url, "now");
    const bytes = (await Promise.all(sizes)).reduce((all, n) => all + n, 0);
    assert.deepEqual([...hosts], [stage.url]);
    assert.ok(bytes > 20_000 && bytes <= 120_000, `${bytes} bytes`);
    await context.close();
  });

  test("keeps the theme that was chosen", async () => {
    const { page, context } = await openPage(browser, { theme: "light" });
    await visit(page, stage.url, "now");
    const light = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.locator("select").selectOption("dark");
    const dark = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.notEqual(light, dark);
    await page.reload();
    await page.waitForSelector("#waiting");
    assert.equal(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), dark);
    await context.close();
  });
});

describe("what moves", () => {
  let stage;
  before(async () => {
    stage = await startStage();
  });
  after(() => stage.end());

  test("every number is the API's at that instant", async () => {
    const { page, context, faults } = await openPage(browser);
    await visit(page, stage.url, "now");
    for (let round = 0; round < 2; round++) {
      const { shown, state } = await same(page, stage.url, nowPage);
      assert.deepEqual(shown, nowState(state));
      await page.waitForFunction((seq) => Number(document.querySelector("main").dataset.seq) > seq, shown.seq);
    }
    await visit(page, stage.url, "quotas");
    const quotas = await same(page, stage.url, quotasPage);
    assert.deepEqual(quotas.shown, quotasState(quotas.state));
    await visit(page, stage.url, "queue");
    const queue = await same(page, stage.url, queuePage);
    assert.ok(queue.shown.flows.length > 20);
    assert.deepEqual(queue.shown, queueState(queue.state));
    assert.deepEqual(faults, []);
    await context.close();
  });

  test("stands still while paused", async () => {
    const { page, context } = await openPage(browser);
    await visit(page, stage.url, "now");
    const button = page.getByRole("button", { name: "Pause" });
    await button.click();
    const seq = await page.locator("main").getAttribute("data-seq");
    for (let now = Number(seq); now < Number(seq) + 3; ) now = (await (await fetch(`${stage.url}/api/v1/console/state`)).json()).seq;
    assert.equal(await page.locator("main").getAttribute("data-seq"), seq);
    await button.click();
    await page.waitForFunction((was) => Number(document.querySelector("main").dataset.seq) > was, Number(seq));
    await context.close();
  });

  test("polls when the stream breaks, and says so", async () => {
    const { page, context } = await openPage(browser);
    await page.route("**/stream", (route) => route.abort());
    await visit(page, stage.url, "now");
    await page.waitForFunction(() => document.querySelector("header .pill").textContent.includes("every 5 s"));
    const seq = Number(await page.locator("main").getAttribute("data-seq"));
    await page.waitForFunction((was) => Number(document.querySelector("main").dataset.seq) > was, seq, { timeout: 8000 });
    await context.close();
  });

  test("polls on where every stream that is tried stays silent", async () => {
    const { page, context } = await openPage(browser);
    await page.clock.install();
    await page.route("**/stream", () => {}); // as behind a proxy that holds streams back
    await page.goto(`${stage.url}/ui/#/now`);
    const further = async () => {
      const seq = Number(await page.evaluate(() => document.querySelector("main")?.dataset.seq ?? 0));
      const made = async () => (await (await fetch(`${stage.url}/api/v1/console/state`)).json()).seq;
      while ((await made()) <= seq); // the page's clock runs ahead of the server, which makes one a second
      for (let tries = 0; tries < 60; tries++) {
        await page.clock.runFor(1000);
        if (Number(await page.evaluate(() => document.querySelector("main")?.dataset.seq ?? 0)) > seq) return true;
      }
      return false;
    };
    for (let round = 0; round < 2; round++) {
      assert.ok(await further(), `round ${round}: nothing new in a minute`);
      assert.match(await page.textContent("header .pill"), /every 5 s/);
      await page.clock.runFor(20_000); // the stream is tried again
    }
    await context.close();
  });
});

test("names that are markup stay text", async (t) => {
  const stage = await startStage("--still", "--hostile");
  t.after(() => stage.end());
  const { page, context, faults } = await openPage(browser);
  await page.addInitScript(() => {
    window.refused = [];
    document.addEventListener("securitypolicyviolation", (e) => window.refused.push(e.violatedDirective));
  });
  const { requests } = await (await fetch(`${stage.url}/api/v1/console/requests?limit=500`)).json();
  const id = requests.find((r) => r.id.includes("<iframe"))?.id;
  assert.ok(id, "no hostile request on the stage");
  for (const name of [...pages, `request/${encodeURIComponent(id)}`]) {
    await visit(page, stage.url, name);
    assert.ok(!(await page.title()).includes("owned"), name);
    assert.deepEqual(await page.evaluate(() => window.refused), [], name);
    assert.equal(await page.locator("iframe, main img, main script, svg[onload]").count(), 0, name);
  }
  assert.ok((await page.textContent("main")).includes(`<img src=x onerror="document.title='owned'">`));
  await visit(page, stage.url, "quotas");
  await page.locator('[data-upstream="<svg onload=alert(1)>"] .actions button').click();
  await page.getByRole("button", { name: /^Yes/ }).click();
  await page.waitForFunction(() => document.querySelector(".answer span")?.textContent.includes("closed now"));
  assert.deepEqual(faults, []);
  await context.close();
});

describe("with keys", () => {
  let stage;
  before(async () => {
    stage = await startStage("--still", "--locked");
  });
  after(() => stage.end());

  test("a stranger sees the login alone", async () => {
    for (const theme of ["light", "dark"]) {
      const { page, context, faults } = await openPage(browser, { width: 390, theme });
      await page.goto(`${stage.url}/ui/#/quotas`);
      await page.waitForSelector("#key");
      assert.deepEqual(await violations(page), []);
      assert.deepEqual(faults, []);
      await login(page, stage.url, "guess");
      await page.waitForFunction(() => document.querySelector("#wrong").textContent !== "");
      assert.equal((await page.request.get(`${stage.url}/api/v1/console/state`)).status(), 401);
      await context.close();
    }
    assert.equal(stage.log().filter((l) => l.action === "login refused").length, 2);
  });

  test("an operator trips and resets a breaker, and it is in the log", async () => {
    const { page, context, faults } = await openPage(browser);
    await login(page, stage.url, operatorKey);
    await page.waitForSelector("#waiting");
    const cookie = (await context.cookies())[0];
    assert.deepEqual([cookie.httpOnly, cookie.sameSite], [true, "Strict"]);
    assert.equal(await page.evaluate(() => document.cookie), "");
    await page.locator("nav a", { hasText: "Quotas" }).click();
    const card = page.locator('[data-upstream="openai"]');
    const breaker = async () => (await (await page.request.get(`${stage.url}/api/v1/console/state`)).json()).upstreams[1].breaker.state;
    for (const [button, pill, state, action] of [["Open breaker", "breaker open", "open", "trip breaker"], ["Close breaker", "answers", "closed", "reset breaker"]]) {
      await card.getByRole("button", { name: button }).click();
      await card.getByRole("button", { name: /^Yes/ }).click();
      await card.locator(".pill", { hasText: pill }).waitFor();
      assert.equal(await breaker(), state);
      const line = stage.log().at(-1);
      assert.deepEqual([line.action, line.by, line.role, line.upstream, line.done], [action, "ops", "operator", "openai", true]);
    }
    await page.getByRole("button", { name: /^Log out/ }).click();
    await page.waitForSelector("#key");
    assert.equal((await page.request.get(`${stage.url}/api/v1/console/state`)).status(), 401);
    assert.deepEqual(faults, []);
    await context.close();
  });

  test("a viewer cannot act", async () => {
    const { page, context } = await openPage(browser);
    await login(page, stage.url, viewerKey);
    await page.waitForSelector("#waiting");
    for (const [name, what] of [["quotas", "open or close breakers"], ["queue", "pause a class"], ["load", "start or stop"]]) {
      await visit(page, stage.url, name);
      assert.equal(await page.locator("main button").count(), 0, name);
      assert.match(await page.textContent(".looker"), new RegExp(`desk may look. To ${what}`));
      assert.deepEqual(await violations(page), [], `${name} of a viewer: axe`);
    }
    await visit(page, stage.url, "plan"); // looking
    assert.equal(await page.locator("tr[data-users]").count(), 8);
    const status = await page.evaluate(async () => (await fetch("/api/v1/console/upstreams/openai/trip", { method: "POST" })).status);
    assert.equal(status, 403);
    assert.equal(stage.log().at(-1).action, "refused");
    await context.close();
  });
});

test("a page of another site is refused", async (t) => {
  const [stage, other] = [await startStage("--still"), await startStage("--still")];
  t.after(() => Promise.all([stage.end(), other.end()]));
  const { page, context } = await openPage(browser);
  // What the other stage answers to an unknown path is a page without the console's policy.
  for (const evil of [other.url, other.url.replace("127.0.0.1", "localhost")]) {
    await page.goto(`${evil}/evil`);
    await page.evaluate(async (url) => {
      for (const method of ["POST", "DELETE", "PUT"]) await fetch(`${url}/api/v1/console/upstreams/openai/trip`, { method, mode: method === "POST" ? "no-cors" : "cors", credentials: "include" }).catch(() => {});
      const form = document.createElement("form");
      form.method = "POST";
      form.action = `${url}/api/v1/console/upstreams/openai/trip`;
      document.body.append(form);
      form.submit();
    }, stage.url);
    await page.waitForURL(`${stage.url}/**`);
    await page.goto(`${evil}/evil`);
    const read = await page.evaluate(async (url) => {
      const source = new EventSource(`${url}/api/v1/console/stream`, { withCredentials: true });
      const heard = new Promise((done) => {
        source.onmessage = () => done("an event");
        source.onerror = () => done("nothing");
      });
      const state = await fetch(`${url}/api/v1/console/state`, { credentials: "include" }).then((r) => r.text(), () => "nothing");
      return [await heard, state];
    }, stage.url);
    assert.deepEqual(read, ["nothing", "nothing"]);
  }
  const state = await (await fetch(`${stage.url}/api/v1/console/state`)).json();
  assert.equal(state.upstreams[1].breaker.state, "closed");
  const lines = stage.log();
  assert.ok(lines.length >= 8 && lines.every((l) => l.action === "refused" && l.why === "another site"), JSON.stringify(lines));
  await context.close();
});
