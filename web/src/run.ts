// What the page was given: see drawing in internal/report/page.go. Times are in milliseconds since the run began.

export interface Drawing {
  live: boolean;
  going: boolean;
  end: number;
  states: { name: string; means: string }[];
  from: number[];
  width: number[];
  ok: number[];
  bad: number[];
  steps: DrawnStep[];
  lanes: { name: string; step: number; worker: number; thread: number; cells: string }[];
  marks: Mark[];
  kinds: string[];
}

export interface DrawnStep {
  name: string;
  mode: string;
  inFlight: number[];
  limit: number[];
  queue: number[];
  ended: number[];
  bad: number[];
}

export interface Mark {
  at: number;
  lane: number; // -1: a command or a goroutine
  step: number;
  kind: number;
  count: number;
  item?: string;
  reason?: string;
}

// Lane is a worker, or a thread of one, with four bytes a row: two states, the shares of both in 255ths, and a third state that has the rest.
export interface Lane {
  name: string;
  step: number;
  worker: number;
  thread: number; // 0 for the worker itself
  cells: Uint8Array;
}

export interface Run extends Omit<Drawing, "lanes"> {
  lanes: Lane[];
}

export function readRun(text: string): Run {
  const drawing = JSON.parse(text) as Drawing;
  return fromDrawing(drawing);
}

export function fromDrawing(drawing: Drawing): Run {
  const lanes = drawing.lanes.map((lane) => ({ ...lane, cells: Uint8Array.from(atob(lane.cells), (c) => c.charCodeAt(0)) }));
  return { ...drawing, lanes, marks: [...drawing.marks].sort((a, b) => a.at - b.at) };
}

// rowAt is the row that holds a moment, or the last one before it; -1 before the first.
export function rowAt(run: Run, at: number): number {
  let low = 0;
  let high = run.from.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (run.from[middle]! <= at) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// sharesOver adds the shares of a lane's states between two moments to sum, in milliseconds by state.
export function sharesOver(run: Run, lane: Lane, from: number, to: number, sum: Float64Array): void {
  sum.fill(0);
  for (let row = Math.max(rowAt(run, from), 0); row < run.from.length && run.from[row]! < to; row++) {
    const begin = Math.max(run.from[row]!, from);
    const time = Math.min(run.from[row]! + run.width[row]!, to) - begin;
    if (time <= 0) continue;
    const at = row * 4;
    const two = lane.cells[at]!;
    const first = lane.cells[at + 1]! / 255;
    const second = lane.cells[at + 2]! / 255;
    sum[two >> 4]! += first * time;
    sum[two & 15]! += second * time;
    sum[lane.cells[at + 3]!]! += Math.max(1 - first - second, 0) * time;
  }
}
