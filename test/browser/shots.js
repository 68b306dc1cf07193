// Writes screenshots of every page to the folder that is named: node shots.js DIR

import { mkdir } from "node:fs/promises";
import path from "node:path";
import { cleanUp, openPage, operatorKey, pages, startBrowser, startStage, visit } from "./stage.js";

const to = process.argv[2];
if (!to) throw new Error("usage: node shots.js FOLDER");
await mkdir(to, { recursive: true });
const stage = await startStage("--still");
const locked = await startStage("--still", "--locked");
const browser = await startBrowser();
for (const width of [1280, 390]) {
  for (const theme of ["light", "dark"]) {
    const { page, context } = await openPage(browser, { width, theme });
    const shoot = (name) => page.screenshot({ path: path.join(to, `${name}-${width}-${theme}.png`), fullPage: true });
    for (const name of pages) {
      await visit(page, stage.url, name);
      await shoot(name);
    }
    await visit(page, stage.url, "load");
    if (width === 1280 && theme === "light") await page.getByRole("button", { name: "Start" }).click();
    await page.waitForSelector(".spark");
    await page.waitForFunction(() => document.querySelector("#progress")?.textContent.startsWith("4.0 s"));
    await shoot("load-run");
    await visit(page, stage.url, "plan");
    const apply = page.getByRole("button", { name: "Apply" });
    if (await apply.count()) await apply.click();
    await shoot("plan-apply");
    await visit(page, stage.url, "requests");
    const tried = page.locator("tbody tr").nth(5).locator("a");
    await tried.click();
    await page.waitForSelector(".timeline");
    await shoot("request");
    await page.goto(`${stage.url}/ui/#/request/req_000184`);
    await page.waitForSelector(".timeline");
    await shoot("request-fallback");
    await page.goto(`${locked.url}/ui/`);
    await page.waitForSelector("#key");
    await shoot("login");
    await page.fill("#key", operatorKey);
    await page.click("button[type=submit]");
    await page.waitForSelector("#waiting");
    await context.close();
  }
}
await browser.close();
await stage.end();
await locked.end();
await cleanUp();
