// Where things stand on the canvas: a scale of time, the items that end, then for each step a band of what is in flight and its lanes.

import type { Run } from "./run";

export type Place =
  | { kind: "rate"; top: number; height: number }
  | { kind: "band"; top: number; height: number; step: number }
  | { kind: "lane"; top: number; height: number; lane: number };

export interface Layout {
  places: Place[];
  left: number; // where time begins
  scale: number; // height of the scale of time
  height: number;
}

export function layOut(run: Run, width: number): Layout {
  const left = width < 600 ? 76 : 132;
  const scale = 24;
  const places: Place[] = [];
  let top = scale + 8;
  const add = (place: Place, gap: number): void => {
    places.push(place);
    top += place.height + gap;
  };
  add({ kind: "rate", top, height: 52 }, 16);
  const many = run.lanes.length > 64;
  // A worker has its threads below it, whoever was there first.
  const order = run.lanes.map((_, index) => index).sort((a, b) => {
    const [x, y] = [run.lanes[a]!, run.lanes[b]!];
    return x.worker - y.worker || x.thread - y.thread;
  });
  run.steps.forEach((_, step) => {
    add({ kind: "band", top, height: 46, step }, 5);
    order.forEach((index) => {
      const lane = run.lanes[index]!;
      if (lane.step !== step) return;
      const height = lane.thread > 0 ? (many ? 5 : 9) : many ? 10 : 20;
      add({ kind: "lane", top, height, lane: index }, many ? 1 : 3);
    });
    top += 16;
  });
  return { places, left, scale, height: Math.max(top - 8, 120) };
}
