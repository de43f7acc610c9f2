// The stretch of time that is shown.

export class TimeWindow {
  from = 0;
  to = 1;
  following: boolean;

  constructor(public end: number, live: boolean) {
    this.following = live;
    this.fit();
  }

  get length(): number {
    return this.to - this.from;
  }

  // The closest view: a tenth of a millisecond for each of a thousand pixels.
  private static readonly shortest = 5;

  fit(): void {
    this.set(0, this.end * 1.005);
  }

  // grow takes a later end in. Only who looks at the whole, or follows, sees it move.
  grow(end: number): void {
    const whole = this.from <= 0 && this.to >= this.end;
    this.end = end;
    if (!this.following) return;
    if (whole) this.fit();
    else this.set(end * 1.005 - this.length, end * 1.005);
  }

  zoom(factor: number, around = (this.from + this.to) / 2): void {
    const length = Math.min(Math.max(this.length * factor, TimeWindow.shortest), Math.max(this.end * 1.005, TimeWindow.shortest));
    const share = (around - this.from) / this.length;
    this.moveTo(around - share * length, length);
  }

  pan(share: number): void {
    this.moveTo(this.from + share * this.length, this.length);
  }

  show(at: number): void {
    if (at < this.from || at > this.to) this.moveTo(at - this.length / 2, this.length);
  }

  private moveTo(from: number, length: number): void {
    this.following = false;
    const last = Math.max(this.end * 1.005 - length, 0);
    from = Math.min(Math.max(from, 0), last);
    this.set(from, from + length);
  }

  private set(from: number, to: number): void {
    this.from = from;
    this.to = Math.max(to, from + TimeWindow.shortest);
  }
}

// timeText is a moment or a length for a person; step says how fine it has to be.
export function timeText(ms: number, step = 0): string {
  const digits = step > 0 && step < 1 ? 2 : 0;
  if (ms < 1000 && (step === 0 || step < 100)) return `${ms.toFixed(digits)} ms`;
  const seconds = ms / 1000;
  const fine = step === 0 ? (seconds < 10 ? 2 : 1) : step < 10 ? 3 : step < 100 ? 2 : step < 1000 ? 1 : 0;
  if (seconds < 120) return `${seconds.toFixed(fine)} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 120) return `${minutes}:${(seconds - minutes * 60).toFixed(fine).padStart(fine > 0 ? fine + 3 : 2, "0")} min`;
  return `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")} h`;
}

const nice = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 15e3, 3e4, 6e4, 12e4, 3e5, 6e5, 9e5, 18e5, 36e5, 72e5, 216e5, 864e5, 6048e5];

// tickStep is the distance of the time marks when at most so many fit.
export function tickStep(length: number, most: number): number {
  return nice.find((step) => length / step <= most) ?? length;
}
