// How states look. Colours are those of Okabe and Ito; each state has a pattern as well, so that nothing hangs on colour alone.

type Brush = (pen: CanvasRenderingContext2D, size: number) => void;

const line = (...points: [number, number][]): Brush => (pen, size) => {
  pen.beginPath();
  points.forEach(([x, y], i) => (i % 2 === 0 ? pen.moveTo(x * size, y * size) : pen.lineTo(x * size, y * size)));
  pen.stroke();
};
const dot = (x: number, y: number): Brush => (pen, size) => pen.fillRect(x * size - 0.5, y * size - 0.5, 1.5, 1.5);
const none: Brush = () => undefined;

// In the order of the states: off, starting, cpu, run queue, waiting, running, starved, blocked, backoff, dumping, draining.
const looks: { colour: string; brush: Brush }[] = [
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
  { colour: "--draining", brush: line([0, 0.25], [1, 0.25], [0, 0.75], [1, 0.75]) },
];

export const markGlyphs = ["✗", "◷", "⊘", "▲", "!"];

// Look has the colours of the page as it is now, light or dark.
export class Look {
  private readonly style = getComputedStyle(document.documentElement);
  readonly back = this.colour("--back");
  readonly text = this.colour("--text");
  readonly quiet = this.colour("--quiet");
  readonly line = this.colour("--line");
  readonly soft = this.colour("--soft");
  readonly accent = this.colour("--accent");
  readonly good = this.colour("--cpu");
  readonly mark = this.colour("--mark");
  readonly fills: (CanvasPattern | string)[];
  readonly tiles: Uint32Array[] = []; // the same, pixel by pixel
  readonly tile: number; // their size


  constructor(private readonly scale: number) {
    this.tile = Math.round(6 * scale);
    this.fills = looks.map((look) => this.pattern(look.colour, look.brush));
  }

  colour(name: string): string {
    return this.style.getPropertyValue(name).trim();
  }

  private pattern(colour: string, brush: Brush): CanvasPattern | string {
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
}
