"use strict";
// Line charts as SVG, with a readout at the pointer.

const SVG = "http://www.w3.org/2000/svg";

// Returns the least and greatest value of series, with a margin; [0, 1] for none.
function range(series, log = false) {
  const values = series.flatMap(({ points }) => points.map((point) => point[1]));
  if (!values.length) return { min: 0, max: 1 };
  const [low, high] = [Math.min(...values), Math.max(...values)];
  if (log) return { min: low / 1.5, max: high * 1.5, log };
  const size = Math.max(Math.abs(low), Math.abs(high), 1e-30);
  // Ticks between values that are all but equal could not be told apart.
  const margin = 0.05 * (high - low > 1e-6 * size ? high - low : size > 1e-30 ? size : 1);
  return { min: low - margin, max: high + margin };
}

// Returns powers of ten from low to high, about four of them, and of few also their multiples.
function logTicks(low, high) {
  const few = high / low < 100;
  const from = few ? Math.floor(Math.log10(low)) : Math.log10(low);
  const powers = ticks(from, Math.log10(high), 4).filter(Number.isInteger);
  const factors = few ? [1, 2, 5] : [1];
  const values = powers.flatMap((power) => factors.map((factor) => factor * 10 ** power));
  return values.filter((value) => value >= low && value <= high);
}

// Returns the points that a chart shows, and tells in its figure how many it leaves out: beside the loss
// of a run that has diverged no other can be seen, and SVG cannot hold the greatest numbers.
function drawable(points, name, figure) {
  const found = points.filter((point) => Math.abs(point[1]) < 1e9);
  const count = points.length - found.length;
  const text = `${name}: ${count} of ${points.length} values not drawn, beyond ±10⁹`;
  if (count) figure.append(element("p", { class: "left-out" }, [text]));
  return found;
}

// A line chart in a <figure>.
//
// options: {x, y: {label, min, max, log}, series: [{name, points: [[x, y] …], kind}], square}. The kind
// is the class that gives a series colour and dashes. Marks, [{x, y, name, kind}], can be moved.
class Chart {
  constructor(figure, options) {
    this.options = options;
    this.marks = [];
    this.svg = element("svg", { role: "img", "aria-label": figure.dataset.title }, [], SVG);
    this.readout = element("p", { class: "readout" });
    const keys = options.series
      .filter((series) => series.name)
      .map((series) => {
        const swatch = element("svg", { viewBox: "0 0 24 8", class: "key" }, [], SVG);
        swatch.append(element("path", { d: "M1 4H23", class: `line ${series.kind}` }, [], SVG));
        return element("span", {}, [swatch, series.name]);
      });
    figure.append(element("div", { class: "keys" }, keys), this.svg, this.readout);
    this.svg.addEventListener("pointermove", (event) => this.read(event));
    this.svg.addEventListener("pointerleave", () => this.read(null));
    new ResizeObserver(() => this.draw()).observe(figure);
  }

  setMarks(marks) {
    this.marks = marks;
    this.drawMarks();
  }

  draw() {
    const width = Math.max(this.svg.parentNode.clientWidth, 200);
    const height = this.options.square ? Math.min(width, 320) : Math.min(width * 0.62, 260);
    const box = { left: 46, right: width - 10, top: 8, bottom: height - 38 };
    const { x, y } = this.options;
    const scale = (axis, from, to) => {
      const of = axis.log ? Math.log10 : Number;
      const span = of(axis.max) - of(axis.min) || 1;
      return (value) => from + ((of(value) - of(axis.min)) / span) * (to - from);
    };
    this.box = box;
    this.toX = scale(x, box.left, box.right);
    this.toY = scale(y, box.bottom, box.top);
    this.svg.setAttribute("viewBox", `0 0 ${width} ${height}`);
    this.svg.replaceChildren(...this.axes(width, height), ...this.lines());
    this.layer = element("g", {}, [], SVG);
    this.pointer = element("g", {}, [], SVG);
    this.svg.append(this.layer, this.pointer);
    this.drawMarks();
  }

  axes(width, height) {
    const { box, toX, toY } = this;
    const { x, y } = this.options;
    const text = (content, attributes) => element("text", attributes, [content], SVG);
    const grid = (d) => element("path", { d, class: "grid" }, [], SVG);
    const parts = [];
    for (const value of ticks(x.min, x.max, Math.max(3, width / 90))) {
      if (x.whole && !Number.isInteger(value)) continue;
      parts.push(grid(`M${toX(value)} ${box.top}V${box.bottom}`));
      parts.push(text(shortNumber(value), { x: toX(value), y: box.bottom + 15, class: "middle" }));
    }
    for (const value of y.log ? logTicks(y.min, y.max) : ticks(y.min, y.max, 5)) {
      parts.push(grid(`M${box.left} ${toY(value)}H${box.right}`));
      const label = y.log ? withMinus(value.toExponential(0)) : shortNumber(value);
      parts.push(text(label, { x: box.left - 6, y: toY(value) + 4, class: "end" }));
    }
    const middle = (box.left + box.right) / 2;
    parts.push(text(x.label, { x: middle, y: height - 5, class: "middle name" }));
    return parts;
  }

  lines() {
    return this.options.series.map(({ points, kind }) => {
      const at = points.map(([x, y]) => `${this.toX(x).toFixed(1)} ${this.toY(y).toFixed(1)}`);
      const d = at.length > 1 ? `M${at.join("L")}` : at.map((p) => `M${p}h.01`).join("");
      return element("path", { d, class: `line ${kind}${at.length > 1 ? "" : " point"}` }, [], SVG);
    });
  }

  drawMarks() {
    if (!this.layer) return;
    const { box } = this;
    const parts = [];
    for (const { x, y, name, kind } of this.marks) {
      const cx = this.toX(x);
      if (y === undefined) {
        parts.push(element("path", { d: `M${cx} ${box.top}V${box.bottom}`, class: `rule ${kind}` }, [], SVG));
      } else {
        parts.push(element("circle", { cx, cy: this.toY(y), r: 5, class: `mark ${kind}` }, [], SVG));
      }
      if (!name) continue;
      const left = cx > (box.left + box.right) / 2;
      const place = { x: cx + (left ? -9 : 9), y: y === undefined ? box.bottom - 6 : this.toY(y) + 16 };
      parts.push(element("text", { ...place, class: left ? "end" : "" }, [name], SVG));
    }
    this.layer.replaceChildren(...parts);
  }

  // Shows the values of all series at the pointer, or nothing without one.
  read(event) {
    this.pointer.replaceChildren();
    this.readout.textContent = "";
    if (!event) return;
    const at = new DOMPoint(event.clientX, event.clientY);
    const x = at.matrixTransform(this.svg.getScreenCTM().inverse()).x;
    const texts = [];
    let nearest = null;
    for (const { name, points } of this.options.series) {
      if (!name) continue;
      const distance = (point) => Math.abs(this.toX(point[0]) - x);
      const point = points.reduce((a, b) => (distance(b) < distance(a) ? b : a), points[0]);
      if (!point) continue;
      nearest = nearest ?? point[0];
      texts.push(`${name} ${shortNumber(point[1])}`);
      const place = { cx: this.toX(point[0]), cy: this.toY(point[1]), r: 3, class: "dot" };
      this.pointer.append(element("circle", place, [], SVG));
    }
    if (nearest === null) return;
    this.readout.textContent = `${this.options.x.label} ${shortNumber(nearest)}: ${texts.join(" · ")}`;
  }
}
