"use strict";
// The page of a prediction: one slice at a time, the sliders, and all sections to choose from.

const page = JSON.parse(byId("section-data").textContent);
const VIEWS = ["probability", "mask", "amplitude"];
const AXES = {
  ms: "two-way time, ms",
  m: "depth, m",
  ft: "depth, ft",
  sample: "sample",
  pixel: "row, pixels",
};
const ACROSS = { pixel: "column, pixels", trace: "trace number" };
const percent = (share) => (share === null ? "–" : `${(100 * share).toFixed(1)}\u00a0%`);

// Returns the slices that show the salt body of a button.
const placesOf = (button) => button.dataset.body.split(",").map(Number);

class Explorer {
  constructor(sections) {
    this.sections = sections;
    this.direction = 0;
    this.view = "probability";
    const [, across, down] = page.steps;
    this.at = [0, 1, 2].map((direction) => (sections.volume ? Math.floor(sections.count(direction) / 2) : 0));
    this.viewer = new Viewer(byId("picture"), {
      pick: (pixel) => this.pick(pixel),
      read: (pixel) => this.read(pixel),
    });
    const largest = Math.max(...sections.all.map(({ height, width }) => height * width)) * across * down;
    const most = Math.max(Math.floor(largest / 10), page.chosen.minArea, 1);
    this.choice = new Choice(page.chosen, most, () => this.changed());
    this.list = byId("grid") && new List(sections, (index) => this.goToAbove(index));
    const [body] = document.querySelectorAll("[data-body]");
    if (body) this.at = this.at.map((index, direction) => placesOf(body)[direction] ?? index);
    this.prepareInputs();
    this.setUnit(page.rows.unit);
    this.choice.reset();
    this.update();
  }

  prepareInputs() {
    const on = (id, event, act) => byId(id)?.addEventListener(event, act);
    on("reset", "click", () => (this.choice.reset(), this.update()));
    on("position", "input", (event) => this.goTo(Number(event.target.value)));
    on("position-field", "change", (event) => this.goToNumber(event.target.value));
    on("previous", "click", () => this.step(-1));
    on("next", "click", () => this.step(1));
    for (const id of ["opacity", "outline", "smooth", "height"]) on(id, "input", () => this.redraw());
    on("unit", "change", (event) => (this.setUnit(event.target.value), this.redraw()));
    on("zoom-in", "click", () => this.viewer.zoom(1.5));
    on("zoom-out", "click", () => this.viewer.zoom(1 / 1.5));
    on("zoom-all", "click", () => this.viewer.zoom(0));
    for (const button of document.querySelectorAll("[data-body]")) {
      button.addEventListener("click", () => this.goToBody(placesOf(button)));
    }
    this.radios("view", (value) => this.setView(value));
    this.radios("direction", (value) => this.setDirection(Number(value)));
    document.addEventListener("keydown", (event) => this.press(event));
  }

  radios(name, act) {
    for (const input of document.querySelectorAll(`[name=${name}]`)) {
      input.addEventListener("change", () => act(input.value));
    }
  }

  press(event) {
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (event.target.matches("input:not([type=radio], [type=checkbox], [type=range]), select, textarea")) return;
    const arrow = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    // There the arrows have another meaning.
    if (arrow && event.target.matches("input, #grid *")) return;
    const key = event.key.toLowerCase();
    const view = VIEWS[Number(key) - 1];
    const direction = { i: "inline", x: "crossline", t: "" }[key];
    if (arrow) this.step(event.shiftKey ? 10 * arrow : arrow);
    else if (view) this.setView(view);
    else if (direction !== undefined && this.sections.volume) {
      this.setDirection(direction ? [page.along, page.across].indexOf(direction) : 2);
    } else if (key === "o") {
      byId("outline").checked = !byId("outline").checked;
      this.redraw();
    } else if (key === "+" || key === "=") this.viewer.zoom(1.5);
    else if (key === "-") this.viewer.zoom(1 / 1.5);
    else if (key === "0") this.viewer.zoom(0);
    else return;
    event.preventDefault();
  }

  setView(view) {
    this.view = view;
    this.redraw();
  }

  setDirection(direction) {
    this.direction = direction;
    this.redraw();
  }

  // Without an interval in milliseconds the samples are counted.
  setUnit(unit) {
    const { first, step } = page.rows;
    const [, , down] = page.steps;
    const [start, by] = unit === page.rows.unit || unit !== "sample" ? [first, step] : [Math.floor(down / 2), down];
    this.sections.rows = this.sections.rows.map((_, i) => start + i * by);
    this.sections.rowName = AXES[unit];
    this.unit = unit;
  }

  get index() {
    return this.at[this.direction];
  }

  step(by) {
    this.goTo(this.list ? this.list.beside(this.index, by) : this.index + by);
  }

  goTo(index) {
    this.at[this.direction] = Math.min(Math.max(index, 0), this.sections.count(this.direction) - 1);
    this.redraw();
  }

  // Shows a section that was chosen in the list below, where the arrow keys then step.
  goToAbove(index) {
    this.goTo(index);
    byId("picture").focus({ preventScroll: true });
    byId("section").scrollIntoView();
  }

  // Shows the slices of all directions that meet in a salt body.
  goToBody(places) {
    places.forEach((index, direction) => (this.at[direction] = index));
    this.goToAbove(this.index);
  }

  // Shows the slice whose number is nearest.
  goToNumber(text) {
    const numbers = this.sections.numbers(this.direction);
    const distance = (i) => Math.abs(numbers[i] - Number(text));
    if (text !== "") this.goTo(numbers.reduce((best, _, i) => (distance(i) < distance(best) ? i : best), 0));
    else this.redraw();
  }

  // Returns [direction, index] of the slices that meet in a pixel of this one.
  meeting({ x, y }) {
    const last = this.sections.count(0) - 1;
    return [[[1, x], [2, y]], [[0, x], [2, y]], [[1, x], [0, last - y]]][this.direction];
  }

  pick(pixel) {
    if (!this.sections.volume) return;
    for (const [direction, index] of this.meeting(pixel)) this.at[direction] = index;
    this.redraw();
  }

  marks() {
    if (!this.sections.volume) return null;
    const last = this.sections.count(0) - 1;
    const [along, across, level] = this.at;
    return [{ x: across, y: level }, { x: along, y: level }, { x: across, y: last - along }][this.direction];
  }

  changed() {
    clearTimeout(this.rest);
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.update());
  }

  update() {
    const { choice } = this;
    choice.show();
    this.sections.setRule(choice.threshold, choice.minSize);
    setWords(byId("command"), page.command + choice.flags);
    byId("ramp-mark").style.left = `${100 * choice.threshold}%`;
    this.redraw();
    clearTimeout(this.rest);
    byId("share-all").textContent = "…";
    this.rest = setTimeout(() => this.showShares(), 150);
  }

  // What takes longer follows when the sliders rest.
  showShares() {
    byId("share-all").textContent = percent(this.sections.share());
    this.list?.update();
    document.body.dataset.shares = `${this.choice.threshold} ${this.choice.minSize}`;
  }

  redraw() {
    const { sections, direction, index } = this;
    this.slice = sections.slice(direction, index);
    const { width, height } = this.slice;
    // Images and time slices keep their proportions, as far as they are known.
    const { steps } = page;
    const proportions = direction === 2 ? steps[0] / steps[1] : steps[2] / steps[1];
    const keeps = direction === 2 || page.kind === "images";
    this.look = {
      view: this.view,
      opacity: Number(byId("opacity").value),
      outline: byId("outline").checked,
      smooth: byId("smooth").checked,
      height: Number(byId("height").value),
      aspect: keeps ? proportions : null,
    };
    this.viewer.show(this.slice, this.look, this.marks());
    this.showPosition();
    const salt = this.slice.mask.reduce((sum, value) => sum + value, 0);
    const dead = this.slice.dead.reduce((sum, { width: w, height: h }) => sum + w * h, 0);
    const live = width * height - dead;
    byId("share-here").textContent = percent(live ? salt / live : null);
    byId("opacity").disabled = this.view === "amplitude";
    byId("mask-key").hidden = this.view !== "mask";
    byId("dead-key").hidden = !this.slice.dead.length;
    this.drawLegend();
    for (const [name, value] of [["view", this.view], ["direction", direction]]) {
      for (const input of document.querySelectorAll(`[name=${name}]`)) input.checked = input.value === String(value);
    }
  }

  // Returns the name of the slice that is shown.
  title() {
    const { sections, direction, index } = this;
    if (!sections.volume) return sections.all[index].name;
    const number = sections.numbers(direction)[index];
    if (direction < 2) return `${[page.along, page.across][direction]} ${number}`;
    const noun = { ms: "time slice", sample: "slice at sample" }[this.unit] ?? "depth slice";
    return this.unit === "sample" ? `${noun} ${number}` : `${noun} at ${shortNumber(number)} ${this.unit}`;
  }

  showPosition() {
    const { sections, direction, index } = this;
    const count = sections.count(direction);
    const title = this.title();
    byId("title").textContent = title;
    byId("title").hidden = !title;
    byId("position").max = count - 1;
    byId("position").value = index;
    byId("position").setAttribute("aria-valuetext", title);
    byId("previous").disabled = index === 0 && !this.list;
    byId("next").disabled = index === count - 1 && !this.list;
    if (sections.volume) {
      byId("position-field").value = fieldNumber(sections.numbers(direction)[index]);
      byId("position-name").textContent = direction < 2 ? [page.along, page.across][direction] : this.unit;
    } else {
      byId("position-name").textContent = `${index + 1} of ${count}`;
    }
    const kind = { images: "image", lines: "line" }[page.kind] ?? (direction < 2 ? [page.along, page.across][direction] : "slice");
    byId("share-name").textContent = `salt, this ${kind}`;
    const over = { probability: "the probability of salt", mask: "the mask", amplitude: "nothing" }[this.view];
    byId("picture").setAttribute("aria-label", `${title || page.kind}: amplitudes with ${over} over them`);
    this.list?.mark(index);
  }

  drawLegend() {
    byId("legend").hidden = this.view === "amplitude";
    const drawn = this.view === "mask" ? "as in the mask" : "over mid grey";
    byId("legend-title").textContent = `Probability of salt, ${drawn} (mark: threshold)`;
    const context = byId("ramp").getContext("2d");
    const picture = context.createImageData(512, 1);
    for (let i = 0; i < 512; i++) {
      const prob = Math.round((65535 * i) / 511);
      blend(picture.data, 4 * i, 128, prob, prob >= cutOf(this.choice.threshold), this.look);
    }
    context.putImageData(picture, 0, 0);
  }

  // Tells what is at the pointer.
  read(pixel) {
    const output = byId("readout");
    output.textContent = "";
    if (!pixel) return;
    const { slice } = this;
    const { x, y } = pixel;
    const at = y * slice.width + x;
    const place = `${slice.x.name} ${slice.x.numbers[x]}, ${slice.y.name} ${shortNumber(slice.y.numbers[y])}`;
    if (slice.dead.some((d) => x >= d.x && x < d.x + d.width && y >= d.y && y < d.y + d.height)) {
      output.textContent = `${place}: dead or missing trace`;
      return;
    }
    const share = slice.grey[at] / 255;
    const [low, high] = page.limits ?? [0, 255];
    const amplitude = Number((low + share * (high - low)).toPrecision(3));
    output.textContent =
      `${place}: probability ${(slice.prob[at] / 65535).toFixed(3)}, ` +
      `${slice.mask[at] ? "salt" : "no salt"}, amplitude about ${withMinus(String(amplitude))}`;
  }
}

async function explore() {
  const [grey, prob, live] = await Promise.all(["grey", "prob", "live"].map(unpack));
  const names = { ...page, across: ACROSS[page.across] ?? page.across };
  const pixels = prob.length / 2;
  const sections = new Sections(names, fromPictures(grey, page.sections), fromDifferences(prob, pixels), live);
  byId("explore").hidden = false;
  window.explorer = new Explorer(sections);
}

explore()
  .catch((error) => {
    byId("loading").textContent = `The sections cannot be shown: ${error.message}`;
    throw error;
  })
  .then(() => {
    byId("loading").hidden = true;
    document.body.dataset.ready = "true";
  });
