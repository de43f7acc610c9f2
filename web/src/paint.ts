// Draws the run. What stands in one column of pixels is added up from the rows that lie in it, so a picture costs its pixels, not the run.

import type { Layout, Place } from "./layout";
import { Look, markGlyphs } from "./patterns";
import { type Lane, type Mark, type Run, rowAt, sharesOver } from "./run";
import { type TimeWindow, tickStep, timeText } from "./window";

export interface Scene {
  run: Run;
  window: TimeWindow;
  layout: Layout;
  look: Look;
  width: number; // of the canvas, in pixels of the page
  chosen: number; // the place that the keyboard is at, -1 for none
  mark: Mark | undefined; // that the keyboard is at
}

const font = "12px system-ui, sans-serif";
const small = "11px system-ui, sans-serif";

export function paint(pen: CanvasRenderingContext2D, scene: Scene): void {
  const { layout, look, width } = scene;
  pen.fillStyle = look.back;
  pen.fillRect(0, 0, width, layout.height);
  timeScale(pen, scene);
  layout.places.forEach((place, index) => {
    if (index === scene.chosen) {
      pen.fillStyle = look.soft;
      pen.fillRect(0, place.top - 2, width, place.height + 4);
    }
    if (place.kind === "rate") rate(pen, scene, place.top, place.height);
    else if (place.kind === "band") band(pen, scene, place.top, place.height, place.step);
    else lane(pen, scene, place.top, place.height, scene.run.lanes[place.lane]!);
  });
  marks(pen, scene);
}

export function xOf(scene: Scene, at: number): number {
  const { window, layout, width } = scene;
  return layout.left + ((at - window.from) / window.length) * (width - layout.left);
}

export function timeAt(scene: Scene, x: number): number {
  const { window, layout, width } = scene;
  return window.from + ((x - layout.left) / (width - layout.left)) * window.length;
}

function timeScale(pen: CanvasRenderingContext2D, scene: Scene): void {
  const { window, layout, look, width } = scene;
  const step = tickStep(window.length, (width - layout.left) / 90);
  pen.font = small;
  pen.textBaseline = "middle";
  pen.textAlign = "left";
  for (let at = Math.ceil(window.from / step) * step; at <= window.to; at += step) {
    const x = xOf(scene, at);
    pen.fillStyle = look.line;
    pen.fillRect(x, 0, 1, layout.height);
    pen.fillStyle = look.quiet;
    if (x < width - 46) pen.fillText(timeText(at, step), x + 4, layout.scale / 2);
  }
}

function label(pen: CanvasRenderingContext2D, scene: Scene, text: string, y: number, colour: string, style = font): void {
  pen.font = style;
  pen.fillStyle = colour;
  pen.textAlign = "left";
  pen.textBaseline = "middle";
  let shown = text;
  while (shown.length > 2 && pen.measureText(shown).width > scene.layout.left - 14) shown = shown.slice(0, -2) + "…";
  pen.fillText(shown, 8, y);
}

// columns calls back for every column of pixels with the time it stands for.
function columns(scene: Scene, call: (x: number, from: number, to: number) => void): void {
  const wide = Math.max(scene.window.length / (scene.width - scene.layout.left), 1e-6);
  for (let x = scene.layout.left; x < scene.width; x++) {
    const from = timeAt(scene, x);
    if (from >= scene.run.end) break;
    call(x, from, from + wide);
  }
}

// perRow adds up, or takes the mean of, a figure over the rows between two moments.
function perRow(run: Run, figures: number[], from: number, to: number, how: "sum" | "mean" | "most"): number {
  let sum = 0;
  let time = 0;
  let most = 0;
  for (let row = Math.max(rowAt(run, from), 0); row < run.from.length && run.from[row]! < to; row++) {
    const part = Math.min(run.from[row]! + run.width[row]!, to) - Math.max(run.from[row]!, from);
    if (part <= 0) continue;
    const x = figures[row]!;
    most = Math.max(most, x);
    sum += how === "sum" ? (x * part) / run.width[row]! : x * part;
    time += part;
  }
  return how === "most" ? most : how === "sum" ? sum : time > 0 ? sum / time : 0;
}

function rate(pen: CanvasRenderingContext2D, scene: Scene, top: number, height: number): void {
  const { run, look } = scene;
  // A column may be finer than a row: rates are taken over six columns.
  const over = (scene.window.length / (scene.width - scene.layout.left)) * 6;
  const good: number[] = [];
  const bad: number[] = [];
  columns(scene, (_, from) => {
    good.push((perRow(run, run.ok, from - over / 2, from + over / 2, "sum") / over) * 1000);
    bad.push((perRow(run, run.bad, from - over / 2, from + over / 2, "sum") / over) * 1000);
  });
  const most = Math.max(...good.map((x, i) => x + bad[i]!), 1e-9);
  frame(pen, scene, top, height);
  good.forEach((ok, i) => {
    const x = scene.layout.left + i;
    const g = (ok / most) * height;
    const b = (bad[i]! / most) * height;
    pen.fillStyle = look.good;
    pen.fillRect(x, top + height - g, 1, g);
    pen.fillStyle = look.mark;
    if (b > 0) pen.fillRect(x, top + height - g - Math.max(b, 1), 1, Math.max(b, 1));
  });
  label(pen, scene, "items a second", top + 8, look.text, "600 " + font);
  label(pen, scene, `up to ${short(most)}`, top + 24, look.quiet, small);
  if (run.bad.some((n) => n > 0)) label(pen, scene, "orange: badly", top + 40, look.mark, small);
}

function band(pen: CanvasRenderingContext2D, scene: Scene, top: number, height: number, index: number): void {
  const { run, look } = scene;
  const step = run.steps[index]!;
  let most = 1;
  const mean: number[] = [];
  const limits: number[] = [];
  columns(scene, (_, from, to) => {
    mean.push(perRow(run, step.inFlight, from, to, "mean"));
    limits.push(perRow(run, step.limit, from, to, "mean"));
  });
  for (const n of [...mean, ...limits]) most = Math.max(most, n);
  frame(pen, scene, top, height);
  pen.fillStyle = look.fills[4]!;
  mean.forEach((n, i) => {
    const h = (n / most) * height;
    pen.fillRect(scene.layout.left + i, top + height - h, 1, h);
  });
  pen.strokeStyle = look.text;
  pen.lineWidth = 1.5;
  pen.setLineDash([5, 3]);
  pen.beginPath();
  let drawn = false;
  limits.forEach((n, i) => {
    if (n <= 0) return;
    const y = top + height - (n / most) * height + 0.75;
    if (drawn) pen.lineTo(scene.layout.left + i, y);
    else pen.moveTo(scene.layout.left + i, y);
    drawn = true;
  });
  if (drawn) pen.stroke();
  pen.setLineDash([]);
  label(pen, scene, step.name, top + 8, look.text, "600 " + font);
  label(pen, scene, `in flight, up to ${short(most)}`, top + 24, look.quiet, small);
  label(pen, scene, drawn ? "dashed: limit" : step.mode, top + 38, look.quiet, small);
}

// A lane is put together pixel by pixel: hundreds of thousands of small rectangles would take a second.
function lane(pen: CanvasRenderingContext2D, scene: Scene, top: number, height: number, of: Lane): void {
  const { run, look, layout, width } = scene;
  const ratio = devicePixelRatio;
  const image = pen.createImageData(Math.max(Math.round((width - layout.left) * ratio), 1), Math.round(height * ratio));
  const pixels = new Uint32Array(image.data.buffer);
  const back = pen.getImageData(Math.round(layout.left * ratio), Math.round((top + height + 1) * ratio), image.width, 1);
  const sum = new Float64Array(run.states.length);
  const size = look.tile;
  const wide = scene.window.length / image.width;
  const under = new Uint32Array(back.data.buffer);
  for (let x = 0; x < image.width; x++) {
    const from = scene.window.from + x * wide;
    let total = 0;
    if (from < run.end) {
      sharesOver(run, of, from, from + wide, sum);
      for (const t of sum) total += t;
    }
    let reached = 0;
    let y = image.height - 1;
    if (total > 0) {
      for (const state of order) {
        if (sum[state]! <= 0) continue;
        reached += sum[state]!;
        const end = image.height - Math.round((reached / total) * image.height);
        const tile = look.tiles[state]!;
        for (; y >= end; y--) pixels[y * image.width + x] = tile[(y % size) * size + (x % size)]!;
      }
    }
    for (; y >= 0; y--) pixels[y * image.width + x] = under[x]!; // the lines of the scale of time go on
  }
  pen.putImageData(image, Math.round(layout.left * ratio), Math.round(top * ratio));
  if (height >= 8) label(pen, scene, of.name, top + height / 2, of.thread > 0 ? look.quiet : look.text, height >= 14 ? font : "10px system-ui, sans-serif");
}

// From the bottom of a lane: work first, then waits, then what is free.
const order = [2, 3, 5, 4, 9, 10, 1, 7, 8, 6, 0];

function frame(pen: CanvasRenderingContext2D, scene: Scene, top: number, height: number): void {
  pen.fillStyle = scene.look.line;
  pen.fillRect(scene.layout.left, top + height, scene.width - scene.layout.left, 1);
}

function marks(pen: CanvasRenderingContext2D, scene: Scene): void {
  const { run, window, layout, look } = scene;
  const lastGlyph = new Map<Place, number>(); // where marks are dense every one has its line, and only some a sign
  for (const mark of run.marks) {
    if (mark.at < window.from || mark.at > window.to) continue;
    const place = placeOf(layout, mark);
    if (!place) continue;
    const x = xOf(scene, mark.at);
    pen.fillStyle = look.mark;
    pen.fillRect(x - 0.75, place.top, 1.5, place.height);
    if (place.height < 8 || (mark !== scene.mark && x - (lastGlyph.get(place) ?? -100) < 12)) continue;
    lastGlyph.set(place, x);
    glyph(pen, scene, markGlyphs[mark.kind] ?? "?", x, place.top + (place.kind === "lane" ? place.height / 2 : 8), mark === scene.mark);
  }
}

function glyph(pen: CanvasRenderingContext2D, scene: Scene, text: string, x: number, y: number, chosen: boolean): void {
  pen.font = chosen ? "700 17px system-ui, sans-serif" : "700 13px system-ui, sans-serif";
  pen.textAlign = "center";
  pen.textBaseline = "middle";
  pen.lineWidth = 3;
  pen.strokeStyle = scene.look.back;
  pen.strokeText(text, x, y);
  pen.fillStyle = chosen ? scene.look.text : scene.look.mark;
  pen.fillText(text, x, y);
}

export function placeOf(layout: Layout, mark: Mark): Place | undefined {
  return layout.places.find((p) => (mark.lane >= 0 ? p.kind === "lane" && p.lane === mark.lane : p.kind === "band" && p.step === mark.step));
}

// told says in words what a place shows at a moment.
export function told(run: Run, place: Place, at: number, wide: number): string {
  if (at < 0 || at > run.end) return "";
  const when = timeText(at, wide);
  if (place.kind === "lane") {
    const lane = run.lanes[place.lane]!;
    const sum = new Float64Array(run.states.length);
    const row = rowAt(run, at);
    if (row < 0) return "";
    sharesOver(run, lane, run.from[row]!, run.from[row]! + run.width[row]!, sum);
    const parts = [...sum].map((t, state) => ({ state, share: t / run.width[row]! })).filter((p) => p.share >= 0.01);
    parts.sort((a, b) => b.share - a.share);
    const states = parts.map((p) => (p.share > 0.99 ? run.states[p.state]!.name : `${run.states[p.state]!.name} ${Math.round(p.share * 100)} %`));
    return `${lane.name}, ${when}: ${states.join(", ") || "off"}`;
  }
  const row = Math.max(rowAt(run, at), 0);
  if (run.from.length === 0) return "";
  if (place.kind === "rate") {
    const second = run.width[row]! / 1000;
    return `${when}: ${short((run.ok[row]! + run.bad[row]!) / second)} items a second${run.bad[row]! > 0 ? `, ${run.bad[row]} of them badly` : ""}`;
  }
  const step = run.steps[place.step]!;
  const limit = step.limit[row]! > 0 ? ` of at most ${step.limit[row]}` : "";
  const bad = step.bad[row]! > 0 ? `, ${step.bad[row]} ended badly` : "";
  return `${step.name}, ${when}: ${step.inFlight[row]} in flight${limit}, ${step.queue[row]} in its queue${bad}`;
}

export function short(n: number): string {
  if (n >= 1e6) return `${(n / 1e6).toFixed(1)} M`;
  if (n >= 1e4) return `${(n / 1e3).toFixed(0)} k`;
  return n >= 10 || Number.isInteger(n) ? n.toFixed(0) : n.toFixed(1);
}
