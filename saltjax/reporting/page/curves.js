"use strict";
// Learning curves of several runs in one chart, of which some can be hidden.

// Returns the classes of a run's colour and dashes; 28 runs differ in at least one of the two.
function runKind(run) {
  return `run${run % 7} dash${run % 4}`;
}

// Returns a short line in the colour and dashes of a run.
function runKey(run) {
  const swatch = element("svg", { viewBox: "0 0 24 8", class: "key", "aria-hidden": "true" }, [], SVG);
  swatch.append(element("path", { d: "M1 4H23", class: `line ${runKind(run)}` }, [], SVG));
  return swatch;
}

// A chart whose series, [{run, title, points, best}], are those of runs; best is a point or null.
class CurvesChart extends Chart {
  constructor(figure, label, series, log) {
    const last = Math.max(2, ...series.flatMap(({ points }) => points.map((point) => point[0])));
    const x = { label: "epoch", min: 1, max: last, whole: true };
    super(figure, { x, y: range(series, log), series });
    this.all = series;
    this.log = log;
    this.svg.addEventListener("pointerdown", (event) => this.read(event));
  }

  // hidden: the numbers of the runs that are not drawn.
  hide(hidden) {
    this.options.series = this.all.filter(({ run }) => !hidden.has(run));
    this.options.y = range(this.options.series, this.log);
    if (this.layer) this.draw();
  }

  lines() {
    const parts = this.options.series.map(({ run, points }) => {
      const at = points.map(([x, y]) => `${this.toX(x).toFixed(1)} ${this.toY(y).toFixed(1)}`);
      const d = at.length > 1 ? `M${at.join("L")}` : `M${at[0]}h.01`;
      const kind = `line ${runKind(run)}${at.length > 1 ? "" : " point"}`;
      return element("path", { d, class: kind, "data-run": run }, [], SVG);
    });
    const dots = this.options.series
      .filter(({ best }) => best)
      .map(({ run, best }) => {
        const place = { cx: this.toX(best[0]), cy: this.toY(best[1]), r: 4 };
        return element("circle", { ...place, class: `tested ${runKind(run)}` }, [], SVG);
      });
    return [...parts, ...dots];
  }

  // Names the run whose curve is nearest to the pointer, with its value there.
  read(event) {
    this.pointer.replaceChildren();
    this.readout.textContent = "";
    this.svg.classList.toggle("one", Boolean(event) && this.options.series.length > 1);
    for (const line of this.svg.querySelectorAll(".near")) line.classList.remove("near");
    if (!event) return;
    const matrix = this.svg.getScreenCTM().inverse();
    const at = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix);
    let nearest = null;
    for (const { run, title, points } of this.options.series) {
      const across = (point) => Math.abs(this.toX(point[0]) - at.x);
      const point = points.reduce((a, b) => (across(b) < across(a) ? b : a));
      const distance = Math.hypot(across(point), this.toY(point[1]) - at.y);
      if (!nearest || distance < nearest.distance) nearest = { run, title, point, distance };
    }
    if (!nearest) return;
    const { run, title, point } = nearest;
    this.svg.querySelector(`.line[data-run="${run}"]`).classList.add("near");
    const place = { cx: this.toX(point[0]), cy: this.toY(point[1]), r: 3, class: "dot" };
    this.pointer.append(element("circle", place, [], SVG));
    this.readout.textContent = `epoch ${point[0]}, ${title}: ${shortNumber(point[1])}`;
  }
}
