// Charts. Each has the same numbers as a table beside or below it.

import { useEffect, useRef } from "preact/hooks";
import uPlot from "uplot";
import "uplot.css";
import type { PlanRow, Series } from "./types";
import { Table } from "./parts";

const height = 220;

/** A color of the style sheet as the canvas needs it, for the theme in force. */
function color(plot: uPlot, name: string): string {
  plot.root.style.color = `var(${name})`;
  return getComputedStyle(plot.root).color;
}

const headroom: uPlot.Range.Function = (_, __, max) => [0, 1.15 * Math.max(max ?? 0, 1)];

const text = (): Pick<uPlot.Axis, "stroke" | "grid" | "ticks" | "font"> => ({
  stroke: (u) => color(u, "--soft"),
  grid: { stroke: (u) => color(u, "--line"), width: 1 },
  ticks: { stroke: (u) => color(u, "--line"), width: 1, size: 6 },
  font: "12px system-ui, sans-serif",
});

const plain = {
  height,
  cursor: { show: false },
  legend: { show: false },
  select: { show: false, left: 0, top: 0, width: 0, height: 0 },
  padding: [8, 4, 0, 0] as uPlot.Padding,
};

const dashed: uPlot.Series = { scale: "side", stroke: (u) => color(u, "--soft"), width: 1, dash: [4, 4], points: { show: false } };
const solid: uPlot.Series = { scale: "wait", stroke: (u) => color(u, "--accent"), fill: (u) => color(u, "--wash"), width: 2, points: { show: false } };
const waits: uPlot.Axis = { ...text(), scale: "wait", size: 50, values: (_, all) => all.map((v) => `${v} s`) };

const overTime: Omit<uPlot.Options, "width"> = {
  ...plain,
  scales: { x: { time: true }, wait: { range: headroom }, side: { range: headroom } },
  axes: [
    { ...text(), size: 32, values: "{HH}:{mm}:{ss}", space: 70 },
    waits,
    { ...text(), scale: "side", side: 1, size: 50, grid: { show: false }, values: (_, all) => all.map((v) => `${v}/s`) },
  ],
  series: [{}, dashed, solid],
};

const overUsers: Omit<uPlot.Options, "width"> = {
  ...plain,
  scales: { x: { time: false }, wait: { range: headroom }, side: { range: [0, 115] } },
  axes: [
    { ...text(), size: 32, space: 60 },
    waits,
    { ...text(), scale: "side", side: 1, size: 50, grid: { show: false }, values: (_, all) => all.map((v) => (v > 100 ? "" : `${v} %`)) },
  ],
  series: [{}, { ...dashed, width: 2, points: { show: true, size: 6 } }, { ...solid, points: { show: true, size: 7 } }],
};

function Plot({ options, data }: { options: Omit<uPlot.Options, "width">; data: uPlot.AlignedData }) {
  const place = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  useEffect(() => {
    const at = place.current;
    if (!at) return;
    const made = new uPlot({ ...options, width: at.clientWidth }, data, at);
    plot.current = made;
    const sizes = new ResizeObserver(() => made.setSize({ width: at.clientWidth, height }));
    sizes.observe(at);
    const redraw = () => made.redraw();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    dark.addEventListener("change", redraw);
    const theme = new MutationObserver(redraw);
    theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });
    return () => {
      sizes.disconnect();
      theme.disconnect();
      dark.removeEventListener("change", redraw);
      made.destroy();
    };
  }, []);
  useEffect(() => plot.current?.setData(data), [data]);
  return <div ref={place} aria-hidden="true" class="plot" />;
}

function points(s: Series): uPlot.AlignedData {
  return [s.finished.map((_, i) => s.start + i * s.step), s.finished.map((n) => n / s.step), s.wait_p95_ms.map((ms) => ms / 1000)];
}

/** Waits and answers over the last five minutes. */
export function WaitChart({ series }: { series: Series }) {
  return (
    <figure class="chart">
      <figcaption>
        <span class="key wait" aria-hidden="true" /> p95 wait <span class="key rate" aria-hidden="true" /> requests finished per second
      </figcaption>
      <Plot options={overTime} data={points(series)} />
      <details>
        <summary>The chart as a table</summary>
        <Table label="Waits and requests by time">
          <thead>
            <tr>
              <th scope="col">Until</th>
              <th scope="col" class="n">p95 wait</th>
              <th scope="col" class="n">Finished</th>
              <th scope="col" class="n">Turned away</th>
            </tr>
          </thead>
          <tbody>
            {series.finished.map((n, i) => (
              <tr key={series.start + i * series.step}>
                <th scope="row">{new Date(1000 * (series.start + i * series.step)).toLocaleTimeString("en-GB")}</th>
                <td class="n">{((series.wait_p95_ms[i] ?? 0) / 1000).toFixed(1)} s</td>
                <td class="n">{n}</td>
                <td class="n">{series.refused[i] ?? 0}</td>
              </tr>
            ))}
          </tbody>
        </Table>
      </details>
    </figure>
  );
}

/** Waits and use over the number of users; the matrix has the same numbers. */
export function PlanChart({ rows }: { rows: PlanRow[] }) {
  return (
    <figure class="chart">
      <figcaption>
        <span class="key wait" aria-hidden="true" /> p95 wait <span class="key rate" aria-hidden="true" /> use of the tightest limit, over users
      </figcaption>
      <Plot options={overUsers} data={[rows.map((r) => r.users), rows.map((r) => 100 * r.utilization), rows.map((r) => r.wait_p95_s)]} />
    </figure>
  );
}
