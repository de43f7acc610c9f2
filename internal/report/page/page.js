// Made from web/src by make generate. Do not edit.
"use strict";
(() => {
  // web/src/layout.ts
  function layOut(run, width) {
    const left = width < 600 ? 76 : 132;
    const scale = 24;
    const places = [];
    let top = scale + 8;
    const add = (place, gap) => {
      places.push(place);
      top += place.height + gap;
    };
    add({ kind: "rate", top, height: 52 }, 16);
    const many = run.lanes.length > 64;
    const order2 = run.lanes.map((_, index) => index).sort((a, b) => {
      const [x, y] = [run.lanes[a], run.lanes[b]];
      return x.worker - y.worker || x.thread - y.thread;
    });
    run.steps.forEach((_, step) => {
      add({ kind: "band", top, height: 46, step }, 5);
      order2.forEach((index) => {
        const lane2 = run.lanes[index];
        if (lane2.step !== step) return;
        const height = lane2.thread > 0 ? many ? 5 : 9 : many ? 10 : 20;
        add({ kind: "lane", top, height, lane: index }, many ? 1 : 3);
      });
      top += 16;
    });
    return { places, left, scale, height: Math.max(top - 8, 120) };
  }

  // web/src/patterns.ts
  var line = (...points) => (pen, size) => {
    pen.beginPath();
    points.forEach(([x, y], i) => i % 2 === 0 ? pen.moveTo(x * size, y * size) : pen.lineTo(x * size, y * size));
    pen.stroke();
  };
  var dot = (x, y) => (pen, size) => pen.fillRect(x * size - 0.5, y * size - 0.5, 1.5, 1.5);
  var none = () => void 0;
  var looks = [
    { colour: "--off", brush: none },
    { colour: "--starting", brush: line([0.2, 0.5], [0.8, 0.5], [0.5, 0.2], [0.5, 0.8]) },
    { colour: "--cpu", brush: none },
    { colour: "--runq", brush: line([0, 1], [1, 0]) },
    { colour: "--waiting", brush: line([0, 0.5], [1, 0.5]) },
    { colour: "--running", brush: dot(0.5, 0.5) },
    { colour: "--starved", brush: dot(0.3, 0.6) },
    { colour: "--blocked", brush: line([0.5, 0], [0.5, 1]) },
    { colour: "--backoff", brush: line([0, 0], [1, 1], [0, 1], [1, 0]) },
    { colour: "--dumping", brush: line([0, 0], [1, 1]) },
    { colour: "--draining", brush: line([0, 0.25], [1, 0.25], [0, 0.75], [1, 0.75]) }
  ];
  var markGlyphs = ["\u2717", "\u25F7", "\u2298", "\u25B2", "!"];
  var Look = class {
    // their size
    constructor(scale) {
      this.scale = scale;
      this.tile = Math.round(6 * scale);
      this.fills = looks.map((look) => this.pattern(look.colour, look.brush));
    }
    scale;
    style = getComputedStyle(document.documentElement);
    back = this.colour("--back");
    text = this.colour("--text");
    quiet = this.colour("--quiet");
    line = this.colour("--line");
    soft = this.colour("--soft");
    accent = this.colour("--accent");
    good = this.colour("--cpu");
    mark = this.colour("--mark");
    fills;
    tiles = [];
    // the same, pixel by pixel
    tile;
    colour(name) {
      return this.style.getPropertyValue(name).trim();
    }
    pattern(colour, brush) {
      const size = this.tile;
      const tile = document.createElement("canvas");
      tile.width = tile.height = size;
      const pen = tile.getContext("2d");
      if (!pen) return this.colour(colour);
      pen.fillStyle = this.colour(colour);
      pen.fillRect(0, 0, size, size);
      pen.strokeStyle = pen.fillStyle = this.colour("--ink");
      pen.lineWidth = this.scale;
      brush(pen, size);
      this.tiles.push(new Uint32Array(pen.getImageData(0, 0, size, size).data.buffer));
      return pen.createPattern(tile, "repeat") ?? this.colour(colour);
    }
  };

  // web/src/run.ts
  function readRun(text) {
    const drawing = JSON.parse(text);
    return fromDrawing(drawing);
  }
  function fromDrawing(drawing) {
    const lanes = drawing.lanes.map((lane2) => ({ ...lane2, cells: Uint8Array.from(atob(lane2.cells), (c) => c.charCodeAt(0)) }));
    return { ...drawing, lanes, marks: [...drawing.marks].sort((a, b) => a.at - b.at) };
  }
  function rowAt(run, at) {
    let low = 0;
    let high = run.from.length;
    while (low < high) {
      const middle = low + high >> 1;
      if (run.from[middle] <= at) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }
  function sharesOver(run, lane2, from, to, sum) {
    sum.fill(0);
    for (let row = Math.max(rowAt(run, from), 0); row < run.from.length && run.from[row] < to; row++) {
      const begin = Math.max(run.from[row], from);
      const time = Math.min(run.from[row] + run.width[row], to) - begin;
      if (time <= 0) continue;
      const at = row * 4;
      const two = lane2.cells[at];
      const first = lane2.cells[at + 1] / 255;
      const second = lane2.cells[at + 2] / 255;
      sum[two >> 4] += first * time;
      sum[two & 15] += second * time;
      sum[lane2.cells[at + 3]] += Math.max(1 - first - second, 0) * time;
    }
  }

  // web/src/window.ts
  var TimeWindow = class _TimeWindow {
    constructor(end, live) {
      this.end = end;
      this.following = live;
      this.fit();
    }
    end;
    from = 0;
    to = 1;
    following;
    get length() {
      return this.to - this.from;
    }
    // The closest view: a tenth of a millisecond for each of a thousand pixels.
    static shortest = 5;
    fit() {
      this.set(0, this.end * 1.005);
    }
    // grow takes a later end in. Only who looks at the whole, or follows, sees it move.
    grow(end) {
      const whole = this.from <= 0 && this.to >= this.end;
      this.end = end;
      if (!this.following) return;
      if (whole) this.fit();
      else this.set(end * 1.005 - this.length, end * 1.005);
    }
    zoom(factor, around = (this.from + this.to) / 2) {
      const length = Math.min(Math.max(this.length * factor, _TimeWindow.shortest), Math.max(this.end * 1.005, _TimeWindow.shortest));
      const share = (around - this.from) / this.length;
      this.moveTo(around - share * length, length);
    }
    pan(share) {
      this.moveTo(this.from + share * this.length, this.length);
    }
    show(at) {
      if (at < this.from || at > this.to) this.moveTo(at - this.length / 2, this.length);
    }
    moveTo(from, length) {
      this.following = false;
      const last = Math.max(this.end * 1.005 - length, 0);
      from = Math.min(Math.max(from, 0), last);
      this.set(from, from + length);
    }
    set(from, to) {
      this.from = from;
      this.to = Math.max(to, from + _TimeWindow.shortest);
    }
  };
  function timeText(ms, step = 0) {
    const digits = step > 0 && step < 1 ? 2 : 0;
    if (ms < 1e3 && (step === 0 || step < 100)) return `${ms.toFixed(digits)} ms`;
    const seconds = ms / 1e3;
    const fine = step === 0 ? seconds < 10 ? 2 : 1 : step < 10 ? 3 : step < 100 ? 2 : step < 1e3 ? 1 : 0;
    if (seconds < 120) return `${seconds.toFixed(fine)} s`;
    const minutes = Math.floor(seconds / 60);
    if (minutes < 120) return `${minutes}:${(seconds - minutes * 60).toFixed(fine).padStart(fine > 0 ? fine + 3 : 2, "0")} min`;
    return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")} h`;
  }
  var nice = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 864e5, 6048e5];
  function tickStep(length, most) {
    return nice.find((step) => length / step <= most) ?? length;
  }

  // web/src/paint.ts
  var font = "12px system-ui, sans-serif";
  var small = "11px system-ui, sans-serif";
  function paint(pen, scene) {
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
      else lane(pen, scene, place.top, place.height, scene.run.lanes[place.lane]);
    });
    marks(pen, scene);
  }
  function xOf(scene, at) {
    const { window, layout, width } = scene;
    return layout.left + (at - window.from) / window.length * (width - layout.left);
  }
  function timeAt(scene, x) {
    const { window, layout, width } = scene;
    return window.from + (x - layout.left) / (width - layout.left) * window.length;
  }
  function timeScale(pen, scene) {
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
  function label(pen, scene, text, y, colour, style = font) {
    pen.font = style;
    pen.fillStyle = colour;
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    let shown = text;
    while (shown.length > 2 && pen.measureText(shown).width > scene.layout.left - 14) shown = shown.slice(0, -2) + "\u2026";
    pen.fillText(shown, 8, y);
  }
  function columns(scene, call) {
    const wide = Math.max(scene.window.length / (scene.width - scene.layout.left), 1e-6);
    for (let x = scene.layout.left; x < scene.width; x++) {
      const from = timeAt(scene, x);
      if (from >= scene.run.end) break;
      call(x, from, from + wide);
    }
  }
  function perRow(run, figures, from, to, how) {
    let sum = 0;
    let time = 0;
    let most = 0;
    for (let row = Math.max(rowAt(run, from), 0); row < run.from.length && run.from[row] < to; row++) {
      const part = Math.min(run.from[row] + run.width[row], to) - Math.max(run.from[row], from);
      if (part <= 0) continue;
      const x = figures[row];
      most = Math.max(most, x);
      sum += how === "sum" ? x * part / run.width[row] : x * part;
      time += part;
    }
    return how === "most" ? most : how === "sum" ? sum : time > 0 ? sum / time : 0;
  }
  function rate(pen, scene, top, height) {
    const { run, look } = scene;
    const over = scene.window.length / (scene.width - scene.layout.left) * 6;
    const good = [];
    const bad = [];
    columns(scene, (_, from) => {
      good.push(perRow(run, run.ok, from - over / 2, from + over / 2, "sum") / over * 1e3);
      bad.push(perRow(run, run.bad, from - over / 2, from + over / 2, "sum") / over * 1e3);
    });
    const most = Math.max(...good.map((x, i) => x + bad[i]), 1e-9);
    frame(pen, scene, top, height);
    good.forEach((ok, i) => {
      const x = scene.layout.left + i;
      const g = ok / most * height;
      const b = bad[i] / most * height;
      pen.fillStyle = look.good;
      pen.fillRect(x, top + height - g, 1, g);
      pen.fillStyle = look.mark;
      if (b > 0) pen.fillRect(x, top + height - g - Math.max(b, 1), 1, Math.max(b, 1));
    });
    label(pen, scene, "items a second", top + 8, look.text, "600 " + font);
    label(pen, scene, `up to ${short(most)}`, top + 24, look.quiet, small);
    if (run.bad.some((n) => n > 0)) label(pen, scene, "orange: badly", top + 40, look.mark, small);
  }
  function band(pen, scene, top, height, index) {
    const { run, look } = scene;
    const step = run.steps[index];
    let most = 1;
    const mean = [];
    const limits = [];
    columns(scene, (_, from, to) => {
      mean.push(perRow(run, step.inFlight, from, to, "mean"));
      limits.push(perRow(run, step.limit, from, to, "mean"));
    });
    for (const n of [...mean, ...limits]) most = Math.max(most, n);
    frame(pen, scene, top, height);
    pen.fillStyle = look.fills[4];
    mean.forEach((n, i) => {
      const h = n / most * height;
      pen.fillRect(scene.layout.left + i, top + height - h, 1, h);
    });
    pen.strokeStyle = look.text;
    pen.lineWidth = 1.5;
    pen.setLineDash([5, 3]);
    pen.beginPath();
    let drawn = false;
    limits.forEach((n, i) => {
      if (n <= 0) return;
      const y = top + height - n / most * height + 0.75;
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
  function lane(pen, scene, top, height, of) {
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
          if (sum[state] <= 0) continue;
          reached += sum[state];
          const end = image.height - Math.round(reached / total * image.height);
          const tile = look.tiles[state];
          for (; y >= end; y--) pixels[y * image.width + x] = tile[y % size * size + x % size];
        }
      }
      for (; y >= 0; y--) pixels[y * image.width + x] = under[x];
    }
    pen.putImageData(image, Math.round(layout.left * ratio), Math.round(top * ratio));
    if (height >= 8) label(pen, scene, of.name, top + height / 2, of.thread > 0 ? look.quiet : look.text, height >= 14 ? font : "10px system-ui, sans-serif");
  }
  var order = [2, 3, 5, 4, 9, 10, 1, 7, 8, 6, 0];
  function frame(pen, scene, top, height) {
    pen.fillStyle = scene.look.line;
    pen.fillRect(scene.layout.left, top + height, scene.width - scene.layout.left, 1);
  }
  function marks(pen, scene) {
    const { run, window, layout, look } = scene;
    const lastGlyph = /* @__PURE__ */ new Map();
    for (const mark of run.marks) {
      if (mark.at < window.from || mark.at > window.to) continue;
      const place = placeOf(layout, mark);
      if (!place) continue;
      const x = xOf(scene, mark.at);
      pen.fillStyle = look.mark;
      pen.fillRect(x - 0.75, place.top, 1.5, place.height);
      if (place.height < 8 || mark !== scene.mark && x - (lastGlyph.get(place) ?? -100) < 12) continue;
      lastGlyph.set(place, x);
      glyph(pen, scene, markGlyphs[mark.kind] ?? "?", x, place.top + (place.kind === "lane" ? place.height / 2 : 8), mark === scene.mark);
    }
  }
  function glyph(pen, scene, text, x, y, chosen) {
    pen.font = chosen ? "700 17px system-ui, sans-serif" : "700 13px system-ui, sans-serif";
    pen.textAlign = "center";
    pen.textBaseline = "middle";
    pen.lineWidth = 3;
    pen.strokeStyle = scene.look.back;
    pen.strokeText(text, x, y);
    pen.fillStyle = chosen ? scene.look.text : scene.look.mark;
    pen.fillText(text, x, y);
  }
  function placeOf(layout, mark) {
    return layout.places.find((p) => mark.lane >= 0 ? p.kind === "lane" && p.lane === mark.lane : p.kind === "band" && p.step === mark.step);
  }
  function told(run, place, at, wide) {
    if (at < 0 || at > run.end) return "";
    const when = timeText(at, wide);
    if (place.kind === "lane") {
      const lane2 = run.lanes[place.lane];
      const sum = new Float64Array(run.states.length);
      const row2 = rowAt(run, at);
      if (row2 < 0) return "";
      sharesOver(run, lane2, run.from[row2], run.from[row2] + run.width[row2], sum);
      const parts = [...sum].map((t, state) => ({ state, share: t / run.width[row2] })).filter((p) => p.share >= 0.01);
      parts.sort((a, b) => b.share - a.share);
      const states = parts.map((p) => p.share > 0.99 ? run.states[p.state].name : `${run.states[p.state].name} ${Math.round(p.share * 100)} %`);
      return `${lane2.name}, ${when}: ${states.join(", ") || "off"}`;
    }
    const row = Math.max(rowAt(run, at), 0);
    if (run.from.length === 0) return "";
    if (place.kind === "rate") {
      const second = run.width[row] / 1e3;
      return `${when}: ${short((run.ok[row] + run.bad[row]) / second)} items a second${run.bad[row] > 0 ? `, ${run.bad[row]} of them badly` : ""}`;
    }
    const step = run.steps[place.step];
    const limit = step.limit[row] > 0 ? ` of at most ${step.limit[row]}` : "";
    const bad = step.bad[row] > 0 ? `, ${step.bad[row]} ended badly` : "";
    return `${step.name}, ${when}: ${step.inFlight[row]} in flight${limit}, ${step.queue[row]} in its queue${bad}`;
  }
  function short(n) {
    if (n >= 1e6) return `${(n / 1e6).toFixed(1)} M`;
    if (n >= 1e4) return `${(n / 1e3).toFixed(0)} k`;
    return n >= 10 || Number.isInteger(n) ? n.toFixed(0) : n.toFixed(1);
  }

  // web/src/page.ts
  var find = (id) => document.getElementById(id);
  var Page = class {
    // a repaint
    constructor(canvas2, data2) {
      this.canvas = canvas2;
      this.run = readRun(data2);
      this.window = new TimeWindow(Math.max(this.run.end, 1), this.run.live && this.run.going);
      this.cursor = this.run.end / 2;
      this.listen();
      this.swatches();
      this.paint();
      if (this.run.live) setTimeout(() => void this.renew(), 1e3);
    }
    canvas;
    run;
    window;
    look = new Look(devicePixelRatio);
    chosen = -1;
    mark;
    cursor = 0;
    // a moment, for the keyboard
    asked = false;
    scene() {
      const width = this.canvas.clientWidth;
      return { run: this.run, window: this.window, layout: layOut(this.run, width), look: this.look, width, chosen: this.chosen, mark: this.mark };
    }
    repaint() {
      if (this.asked) return;
      this.asked = true;
      requestAnimationFrame(() => {
        this.asked = false;
        this.paint();
      });
    }
    paint() {
      const pen = this.canvas.getContext("2d", { willReadFrequently: true });
      if (!pen) return;
      const begun = performance.now();
      const scene = this.scene();
      const ratio = devicePixelRatio;
      this.canvas.style.height = `${scene.layout.height}px`;
      this.canvas.width = Math.round(scene.width * ratio);
      this.canvas.height = Math.round(scene.layout.height * ratio);
      pen.setTransform(ratio, 0, 0, ratio, 0, 0);
      paint(pen, scene);
      this.canvas.dataset["from"] = this.window.from.toFixed(2);
      this.canvas.dataset["to"] = this.window.to.toFixed(2);
      this.canvas.dataset["marks"] = String(this.run.marks.reduce((n, m) => n + (m.at >= this.window.from && m.at <= this.window.to ? m.count : 0), 0));
      this.canvas.dataset["took"] = (performance.now() - begun).toFixed(1);
      const span = find("span");
      if (span) span.textContent = `${timeText(this.window.from, this.window.length / 100)} to ${timeText(this.window.to, this.window.length / 100)}`;
      const follow = find("follow");
      if (follow) {
        follow.setAttribute("aria-pressed", String(this.window.following));
        follow.textContent = this.window.following ? "following" : "paused \u2014 jump to now";
      }
    }
    listen() {
      new ResizeObserver(() => this.repaint()).observe(this.canvas);
      matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
        this.look = new Look(devicePixelRatio);
        this.swatches();
        this.repaint();
      });
      const press = (id, act) => find(id)?.addEventListener("click", () => this.act(act));
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
    act(change) {
      change();
      this.repaint();
    }
    key(event) {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const acts = {
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
        "?": () => this.help()
      };
      const act = acts[event.key];
      if (!act) return;
      event.preventDefault();
      this.act(act);
    }
    cursorInView() {
      if (this.cursor < this.window.from || this.cursor > this.window.to) this.cursor = (this.window.from + this.window.to) / 2;
      return this.cursor;
    }
    move(share) {
      this.window.pan(share);
      this.cursor = (this.window.from + this.window.to) / 2;
      this.tellChosen();
    }
    choose(by) {
      const places = layOut(this.run, this.canvas.clientWidth).places;
      this.chosen = Math.min(Math.max(this.chosen + by, 0), places.length - 1);
      this.tellChosen();
    }
    tellChosen() {
      const place = layOut(this.run, this.canvas.clientWidth).places[this.chosen];
      if (place) this.tell(told(this.run, place, this.cursorInView(), this.window.length / 1e3));
    }
    // toMark goes to the next crash, timeout or kill, or to the one before.
    toMark(by) {
      const marks2 = this.run.marks;
      if (marks2.length === 0) {
        this.tell("No crash, no timeout, no kill.");
        return;
      }
      const at = this.mark ? marks2.indexOf(this.mark) + by : by > 0 ? 0 : marks2.length - 1;
      const mark = marks2[Math.min(Math.max(at, 0), marks2.length - 1)];
      this.mark = mark;
      this.cursor = mark.at;
      this.window.show(mark.at);
      const place = placeOf(layOut(this.run, this.canvas.clientWidth), mark);
      if (place) this.chosen = layOut(this.run, this.canvas.clientWidth).places.findIndex((p) => p.top === place.top);
      this.tell(`${marks2.indexOf(mark) + 1} of ${marks2.length}: ${this.markText(mark)}`);
    }
    markText(mark) {
      const lane2 = this.run.lanes[mark.lane]?.name ?? this.run.steps[mark.step]?.name ?? "";
      const many = mark.count > 1 ? `${mark.count} times ` : "";
      const item = mark.item ? `, item ${mark.item}` : "";
      const reason = mark.reason ? `: ${mark.reason}` : "";
      return `${markGlyphs[mark.kind] ?? ""} ${many}${this.run.kinds[mark.kind] ?? "?"} in ${lane2} at ${timeText(mark.at, 1)}${item}${reason}`;
    }
    follow() {
      this.window.following = !this.window.following && this.run.live;
      if (this.window.following) this.window.grow(this.window.end);
    }
    help() {
      const help = find("help");
      if (!help) return;
      help.hidden = !help.hidden;
      find("keys")?.setAttribute("aria-expanded", String(!help.hidden));
    }
    tell(text) {
      const line2 = find("told");
      if (line2) line2.textContent = text || "\xA0";
    }
    mouse() {
      const { canvas: canvas2 } = this;
      let dragged;
      canvas2.addEventListener("pointerdown", (event) => {
        dragged = { x: event.offsetX, from: this.window.from };
        canvas2.setPointerCapture(event.pointerId);
        canvas2.classList.add("dragged");
      });
      const let_go = () => {
        dragged = void 0;
        canvas2.classList.remove("dragged");
      };
      canvas2.addEventListener("pointerup", let_go);
      canvas2.addEventListener("pointercancel", let_go);
      canvas2.addEventListener("pointermove", (event) => {
        if (dragged) {
          const wide = canvas2.clientWidth - this.scene().layout.left;
          const wanted = dragged.from - (event.offsetX - dragged.x) / wide * this.window.length;
          if (Math.abs(event.offsetX - dragged.x) > 2) this.act(() => this.window.pan((wanted - this.window.from) / this.window.length));
        } else this.hover(event.offsetX, event.offsetY);
      });
      canvas2.addEventListener("pointerleave", () => this.tip("", 0, 0));
      canvas2.addEventListener("dblclick", (event) => this.act(() => this.window.zoom(0.33, timeAt(this.scene(), event.offsetX))));
      canvas2.addEventListener(
        "wheel",
        (event) => {
          if (!event.ctrlKey && !event.metaKey) return;
          event.preventDefault();
          this.act(() => this.window.zoom(event.deltaY > 0 ? 1.25 : 0.8, timeAt(this.scene(), event.offsetX)));
        },
        { passive: false }
      );
    }
    hover(x, y) {
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
    tip(text, x, y) {
      const tip = find("tip");
      if (!tip) return;
      tip.hidden = text === "";
      if (tip.hidden) return;
      tip.textContent = text;
      const room = this.canvas.clientWidth;
      tip.style.left = `${x + 16 + tip.offsetWidth > room ? Math.max(x - tip.offsetWidth - 12, 0) : x + 16}px`;
      tip.style.top = `${y + 14}px`;
    }
    swatches() {
      for (const swatch of document.querySelectorAll("canvas.swatch")) {
        const pen = swatch.getContext("2d");
        if (!pen) continue;
        pen.setTransform(2, 0, 0, 2, 0, 0);
        pen.fillStyle = new Look(1).fills[Number(swatch.dataset["state"])] ?? this.look.line;
        pen.fillRect(0, 0, 20, 14);
      }
    }
    // renew asks the server that showed this page for what has happened since.
    async renew() {
      try {
        const answer = await fetch("data.json", { cache: "no-store" });
        if (!answer.ok) throw new Error(answer.statusText);
        const fresh = await answer.json();
        this.run = fromDrawing(fresh.data);
        this.mark = void 0;
        this.window.grow(Math.max(this.run.end, 1));
        const head = find("head");
        const facts = find("facts");
        if (head) head.innerHTML = fresh.head;
        if (facts && !facts.contains(document.activeElement) && !facts.querySelector("details[open]")) facts.innerHTML = fresh.facts;
        this.repaint();
        if (this.run.going) setTimeout(() => void this.renew(), 1e3);
        else this.window.following = false;
      } catch {
        this.tell("The server of this page has ended; this is what it said last.");
      }
    }
  };
  var canvas = find("lanes");
  var data = find("data");
  if (canvas && data) new Page(canvas, data.textContent ?? "{}");
  document.documentElement.dataset["ready"] = "yes";
})();
