// The page of a report: draws the lanes, and moves them with the mouse and the keys. Everything else of it is plain HTML.

import { layOut } from "./layout";
import { paint, placeOf, type Scene, timeAt, told } from "./paint";
import { Look, markGlyphs } from "./patterns";
import { type Drawing, fromDrawing, type Mark, readRun, type Run } from "./run";
import { TimeWindow, timeText } from "./window";

const find = <T extends HTMLElement>(id: string): T | null => document.getElementById(id) as T | null;

class Page {
  private run: Run;
  private readonly window: TimeWindow;
  private look = new Look(devicePixelRatio);
  private chosen = -1;
  private mark: Mark | undefined;
  private cursor = 0; // a moment, for the keyboard
  private asked = false; // a repaint

  constructor(private readonly canvas: HTMLCanvasElement, data: string) {
    this.run = readRun(data);
    this.window = new TimeWindow(Math.max(this.run.end, 1), this.run.live && this.run.going);
    this.cursor = this.run.end / 2;
    this.listen();
    this.swatches();
    this.paint();
    if (this.run.live) setTimeout(() => void this.renew(), 1000);
  }

  private scene(): Scene {
    const width = this.canvas.clientWidth;
    return { run: this.run, window: this.window, layout: layOut(this.run, width), look: this.look, width, chosen: this.chosen, mark: this.mark };
  }

  private repaint(): void {
    if (this.asked) return;
    this.asked = true;
    requestAnimationFrame(() => {
      this.asked = false;
      this.paint();
    });
  }

  private paint(): void {
    const pen = this.canvas.getContext("2d", { willReadFrequently: true }); // lanes are put in pixel by pixel
    if (!pen) return;
    const begun = performance.now();
    const scene = this.scene();
    const ratio = devicePixelRatio;
    this.canvas.style.height = `${scene.layout.height}px`;
    this.canvas.width = Math.round(scene.width * ratio);
    this.canvas.height = Math.round(scene.layout.height * ratio);
    pen.setTransform(ratio, 0, 0, ratio, 0, 0);
    paint(pen, scene);
    // For tests and for whoever asks what is shown.
    this.canvas.dataset["from"] = this.window.from.toFixed(2);
    this.canvas.dataset["to"] = this.window.to.toFixed(2);
    this.canvas.dataset["marks"] = String(this.run.marks.reduce((n, m) => n + (m.at >= this.window.from && m.at <= this.window.to ? m.count : 0), 0));
    this.canvas.dataset["took"] = (performance.now() - begun).toFixed(1);
    const span = find("span");
    if (span) span.textContent = `${timeText(this.window.from, this.window.length / 100)} to ${timeText(this.window.to, this.window.length / 100)}`;
    const follow = find("follow");
    if (follow) {
      follow.setAttribute("aria-pressed", String(this.window.following));
      follow.textContent = this.window.following ? "following" : "paused — jump to now";
    }
  }

  private listen(): void {
    new ResizeObserver(() => this.repaint()).observe(this.canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
      this.look = new Look(devicePixelRatio);
      this.swatches();
      this.repaint();
    });
    const press = (id: string, act: () => void): void => find(id)?.addEventListener("click", () => this.act(act));
    press("in", () => this.window.zoom(0.5));
    press("out", () => this.window.zoom(2));
    press("fit", () => this.window.fit());
    press("before", () => this.toMark(-1));
    press("next", () => this.toMark(1));
    press("follow", () => this.follow());
    press("keys", () => this.help());
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    document.addEventListener("keydown", (event) => {
      if (event.key === "?" && event.target !== this.canvas) this.help();
    });
    this.mouse();
  }

  private act(change: () => void): void {
    change();
    this.repaint();
  }

  private key(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const acts: Record<string, () => void> = {
      ArrowLeft: () => this.move(-0.15),
      ArrowRight: () => this.move(0.15),
      "+": () => this.window.zoom(0.5, this.cursorInView()),
      "=": () => this.window.zoom(0.5, this.cursorInView()),
      "-": () => this.window.zoom(2, this.cursorInView()),
      "0": () => this.window.fit(),
      Home: () => this.window.fit(),
      ArrowUp: () => this.choose(-1),
      ArrowDown: () => this.choose(1),
      n: () => this.toMark(1),
      p: () => this.toMark(-1),
      f: () => this.follow(),
      "?": () => this.help(),
    };
    const act = acts[event.key];
    if (!act) return;
    event.preventDefault();
    this.act(act);
  }

  private cursorInView(): number {
    if (this.cursor < this.window.from || this.cursor > this.window.to) this.cursor = (this.window.from + this.window.to) / 2;
    return this.cursor;
  }

  private move(share: number): void {
    this.window.pan(share);
    this.cursor = (this.window.from + this.window.to) / 2;
    this.tellChosen();
  }

  private choose(by: number): void {
    const places = layOut(this.run, this.canvas.clientWidth).places;
    this.chosen = Math.min(Math.max(this.chosen + by, 0), places.length - 1);
    this.tellChosen();
  }

  private tellChosen(): void {
    const place = layOut(this.run, this.canvas.clientWidth).places[this.chosen];
    if (place) this.tell(told(this.run, place, this.cursorInView(), this.window.length / 1000));
  }

  // toMark goes to the next crash, timeout or kill, or to the one before.
  private toMark(by: 1 | -1): void {
    const marks = this.run.marks;
    if (marks.length === 0) {
      this.tell("No crash, no timeout, no kill.");
      return;
    }
    const at = this.mark ? marks.indexOf(this.mark) + by : by > 0 ? 0 : marks.length - 1;
    const mark = marks[Math.min(Math.max(at, 0), marks.length - 1)]!;
    this.mark = mark;
    this.cursor = mark.at;
    this.window.show(mark.at);
    const place = placeOf(layOut(this.run, this.canvas.clientWidth), mark);
    if (place) this.chosen = layOut(this.run, this.canvas.clientWidth).places.findIndex((p) => p.top === place.top);
    this.tell(`${marks.indexOf(mark) + 1} of ${marks.length}: ${this.markText(mark)}`);
  }

  private markText(mark: Mark): string {
    const lane = this.run.lanes[mark.lane]?.name ?? this.run.steps[mark.step]?.name ?? "";
    const many = mark.count > 1 ? `${mark.count} times ` : "";
    const item = mark.item ? `, item ${mark.item}` : "";
    const reason = mark.reason ? `: ${mark.reason}` : "";
    return `${markGlyphs[mark.kind] ?? ""} ${many}${this.run.kinds[mark.kind] ?? "?"} in ${lane} at ${timeText(mark.at, 1)}${item}${reason}`;
  }

  private follow(): void {
    this.window.following = !this.window.following && this.run.live;
    if (this.window.following) this.window.grow(this.window.end);
  }

  private help(): void {
    const help = find("help");
    if (!help) return;
    help.hidden = !help.hidden;
    find("keys")?.setAttribute("aria-expanded", String(!help.hidden));
  }

  private tell(text: string): void {
    const line = find("told");
    if (line) line.textContent = text || "\u00a0";
  }

  private mouse(): void {
    const { canvas } = this;
    let dragged: { x: number; from: number } | undefined;
    canvas.addEventListener("pointerdown", (event) => {
      dragged = { x: event.offsetX, from: this.window.from };
      canvas.setPointerCapture(event.pointerId);
      canvas.classList.add("dragged");
    });
    const let_go = (): void => {
      dragged = undefined;
      canvas.classList.remove("dragged");
    };
    canvas.addEventListener("pointerup", let_go);
    canvas.addEventListener("pointercancel", let_go);
    canvas.addEventListener("pointermove", (event) => {
      if (dragged) {
        const wide = canvas.clientWidth - this.scene().layout.left;
        const wanted = dragged.from - ((event.offsetX - dragged.x) / wide) * this.window.length;
        if (Math.abs(event.offsetX - dragged.x) > 2) this.act(() => this.window.pan((wanted - this.window.from) / this.window.length));
      } else this.hover(event.offsetX, event.offsetY);
    });
    canvas.addEventListener("pointerleave", () => this.tip("", 0, 0));
    canvas.addEventListener("dblclick", (event) => this.act(() => this.window.zoom(0.33, timeAt(this.scene(), event.offsetX))));
    canvas.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        this.act(() => this.window.zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(this.scene(), event.offsetX)));
      },
      { passive: false },
    );
  }

  private hover(x: number, y: number): void {
    const scene = this.scene();
    const place = scene.layout.places.find((p) => y >= p.top - 2 && y <= p.top + p.height + 2);
    if (!place || x < scene.layout.left) {
      this.tip("", 0, 0);
      return;
    }
    const wide = this.window.length / (scene.width - scene.layout.left);
    const at = timeAt(scene, x);
    const near = this.run.marks.filter((m) => Math.abs(m.at - at) < wide * 7 && placeOf(scene.layout, m)?.top === place.top);
    const lines = [told(this.run, place, at, wide), ...near.slice(0, 4).map((m) => this.markText(m))];
    if (near.length > 4) lines.push(`and ${near.length - 4} more`);
    this.tip(lines.filter(Boolean).join("\n"), x, y);
  }

  private tip(text: string, x: number, y: number): void {
    const tip = find("tip");
    if (!tip) return;
    tip.hidden = text === "";
    if (tip.hidden) return;
    tip.textContent = text;
    const room = this.canvas.clientWidth;
    tip.style.left = `${x + 16 + tip.offsetWidth > room ? Math.max(x - tip.offsetWidth - 12, 0) : x + 16}px`;
    tip.style.top = `${y + 14}px`;
  }

  private swatches(): void {
    for (const swatch of document.querySelectorAll<HTMLCanvasElement>("canvas.swatch")) {
      const pen = swatch.getContext("2d");
      if (!pen) continue;
      pen.setTransform(2, 0, 0, 2, 0, 0);
      pen.fillStyle = new Look(1).fills[Number(swatch.dataset["state"])] ?? this.look.line;
      pen.fillRect(0, 0, 20, 14);
    }
  }

  // renew asks the server that showed this page for what has happened since.
  private async renew(): Promise<void> {
    try {
      const answer = await fetch("data.json", { cache: "no-store" });
      if (!answer.ok) throw new Error(answer.statusText);
      const fresh = (await answer.json()) as { data: Drawing; head: string; facts: string };
      this.run = fromDrawing(fresh.data);
      this.mark = undefined;
      this.window.grow(Math.max(this.run.end, 1));
      const head = find("head");
      const facts = find("facts");
      if (head) head.innerHTML = fresh.head;
      if (facts && !facts.contains(document.activeElement) && !facts.querySelector("details[open]")) facts.innerHTML = fresh.facts;
      this.repaint();
      if (this.run.going) setTimeout(() => void this.renew(), 1000);
      else this.window.following = false;
    } catch {
      this.tell("The server of this page has ended; this is what it said last.");
    }
  }
}

const canvas = find<HTMLCanvasElement>("lanes");
const data = find("data");
if (canvas && data) new Page(canvas, data.textContent ?? "{}");
document.documentElement.dataset["ready"] = "yes";
