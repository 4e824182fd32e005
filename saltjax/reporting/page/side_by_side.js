"use strict";
// A test tile through several runs: its image, its label, and what each run predicts.

const RUN_VIEWS = ["probability", "mask", "difference"];

// By the value of #order: what tiles are sorted by, from {iou: those known, disputed, coverage} and their
// number; among equal ones those with more pixels in dispute come first.
const TILE_ORDERS = {
  spread: ({ iou }) => Math.min(...iou) - Math.max(...iou),
  disputed: ({ disputed }) => -disputed,
  worst: ({ iou }) => iou.reduce((a, b) => a + b, 0) / iou.length,
  coverage: ({ coverage }) => -coverage,
  id: (_, tile) => tile,
};

class SideBySide {
  // tiles: {ids, count, height, width, columns, labels, mosaic}; runs: [{run, name, threshold, minArea,
  // iou, prob, mask}], whose iou is null for tiles that are no test tiles of it.
  constructor(tiles, runs) {
    this.tiles = tiles;
    this.runs = runs;
    this.hidden = new Set();
    this.view = tiles.mosaic ? "difference" : "probability";
    this.at = null; // pixel under the pointer, [x, y]
    this.visible = new Set();
    this.prepareCards();
    this.prepareStrip();
    this.prepareInputs();
    this.hide(this.hidden);
    this.setView(this.view);
  }

  prepareCards() {
    const card = (kind, title) => {
      const canvas = element("canvas", { width: this.tiles.width, height: this.tiles.height });
      const caption = element("figcaption", {}, title);
      const node = element("figure", { class: "tile", ...kind }, [canvas, caption, element("p")]);
      canvas.addEventListener("pointermove", (event) => this.point(event, canvas));
      canvas.addEventListener("pointerleave", () => this.point(null, canvas));
      return node;
    };
    this.image = card({ "data-view": "image" }, ["image"]);
    this.label = card({ "data-view": "label" }, ["label"]);
    this.image.hidden = !this.tiles.mosaic;
    for (const run of this.runs) {
      run.card = card({ "data-run": run.name }, [runKey(run.run), run.name]);
      run.card.title = `threshold ${shortNumber(run.threshold)}, minimum size ${run.minArea}`;
      run.masks = { has: (pixel) => run.mask[pixel] === 1 };
    }
    byId("cards").append(this.image, this.label, ...this.runs.map(({ card }) => card));
  }

  prepareStrip() {
    const { ids, width, height } = this.tiles;
    this.observer = new IntersectionObserver((entries) => this.scrolled(entries), {
      root: byId("strip"),
      rootMargin: "200px",
    });
    this.buttons = ids.map((id, tile) => {
      const canvas = element("canvas", { width, height });
      const caption = element("span", { class: "caption" });
      const attributes = { type: "button", "data-tile": id, tabindex: -1, title: id };
      const button = element("button", attributes, [canvas, caption]);
      button.addEventListener("click", () => this.show(tile));
      this.observer.observe(button);
      return button;
    });
    this.numbers = new Map(this.buttons.map((button, tile) => [button, tile]));
  }

  // Adds the order by the difference of a run to its reference, if both have tiles in common.
  prepareOrders() {
    this.orders = { ...TILE_ORDERS };
    const options = [];
    for (const run of this.runs) {
      const other = this.runs.find(({ run: number }) => number === run.reference);
      if (!other) continue;
      const gain = (_, tile) => {
        const known = run.iou[tile] !== null && other.iou[tile] !== null;
        return known ? run.iou[tile] - other.iou[tile] : Infinity;
      };
      this.orders[`below-${run.run}`] = gain;
      options.push(element("option", { value: `below-${run.run}` }, [`${run.name} below ${other.name}`]));
    }
    if (options.length) byId("order").append(element("optgroup", { label: "IoU, farthest first" }, options));
  }

  prepareInputs() {
    this.prepareOrders();
    byId("order").addEventListener("change", () => this.arrange(true));
    byId("find").addEventListener("input", () => this.find(byId("find").value.trim()));
    byId("previous").addEventListener("click", () => this.step(-1));
    byId("next").addEventListener("click", () => this.step(1));
    for (const input of document.querySelectorAll("#views input")) {
      input.addEventListener("change", () => this.setView(input.value));
    }
    document.addEventListener("keydown", (event) => this.key(event));
  }

  // The arrow keys lead to other tiles from the tiles, or if nothing has the focus.
  key(event) {
    const { target } = event;
    if (event.ctrlKey || event.altKey || event.metaKey) return;
    if (target.matches("input:not([type=radio], [type=checkbox]), select, textarea")) return;
    const view = RUN_VIEWS[Number(event.key) - 1];
    if (view) this.setView(view);
    if (target !== document.body && !target.closest("#cards, #strip")) return;
    const steps = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity };
    const step = target === document.body && !event.key.startsWith("Arrow") ? undefined : steps[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.step(step);
    if (target.closest("#strip")) this.buttons[this.tile].focus({ preventScroll: true });
  }

  // hidden: the numbers of runs that are left out.
  hide(hidden) {
    this.hidden = hidden;
    for (const run of this.runs) run.card.hidden = hidden.has(run.run);
    const shown = this.runs.filter(({ run }) => !hidden.has(run));
    byId("cards").style.setProperty("--count", shown.length + (this.tiles.mosaic ? 2 : 1));
    const { count, labels } = this.tiles;
    const pixels = labels.length / count;
    const votes = new Uint16Array(pixels);
    this.stats = Array.from({ length: count }, (_, tile) => {
      const of = shown.filter(({ iou }) => iou[tile] !== null);
      const first = tile * pixels;
      votes.fill(0);
      for (const { mask } of of) for (let i = 0; i < pixels; i++) votes[i] += mask[first + i];
      let [disputed, salt, labelled] = [0, 0, 0];
      for (let i = 0; i < pixels; i++) {
        if (votes[i] && votes[i] < of.length) disputed++;
        if (labels[first + i] === UNLABELLED) continue;
        labelled++;
        salt += labels[first + i];
      }
      const iou = of.map((run) => run.iou[tile]);
      return { iou: iou.length ? iou : [0], known: iou.length, disputed, coverage: salt / labelled };
    });
    this.arrange(this.tile === undefined);
  }

  // Puts the tiles in order, and shows the first of them or goes on with the one that is shown.
  arrange(first) {
    const key = this.orders[byId("order").value];
    const keys = this.stats.map(key);
    // Not their difference, which is NaN of two that are infinite.
    const unequal = (i, j) => (keys[i] === keys[j] ? 0 : keys[i] - keys[j]);
    const disputed = (tile) => this.stats[tile].disputed;
    const compare = (i, j) => unequal(i, j) || disputed(j) - disputed(i) || i - j;
    this.order = keys.map((_, tile) => tile).sort(compare);
    byId("strip").replaceChildren(...this.order.map((tile) => this.buttons[tile]));
    for (const button of this.visible) this.drawThumbnail(button);
    this.show(first ? this.order[0] : this.tile);
  }

  step(step) {
    const place = this.order.indexOf(this.tile) + step;
    this.show(this.order[Math.max(0, Math.min(place, this.order.length - 1))]);
  }

  // Shows the tile with an id, or the first whose id holds the text.
  find(text) {
    const { ids } = this.tiles;
    const holds = (tile) => ids[tile].toLowerCase().includes(text.toLowerCase());
    const exact = ids.indexOf(text);
    const tile = exact >= 0 ? exact : this.order.find(holds);
    byId("not-found").textContent = tile === undefined ? "no such tile in this file" : "";
    if (text && tile !== undefined) this.show(tile);
  }

  show(tile) {
    for (const button of this.buttons) button.setAttribute("aria-pressed", "false");
    if (this.tile !== undefined) this.buttons[this.tile].tabIndex = -1;
    this.tile = tile;
    const button = this.buttons[tile];
    button.tabIndex = 0;
    button.setAttribute("aria-pressed", "true");
    const strip = byId("strip");
    strip.scrollLeft = button.offsetLeft - strip.offsetLeft - (strip.clientWidth - button.offsetWidth) / 2;
    this.draw();
  }

  setView(view) {
    this.view = view;
    for (const input of document.querySelectorAll("#views input")) input.checked = input.value === view;
    byId("legend").dataset.view = view;
    this.draw();
  }

  draw() {
    const { tile, tiles, runs } = this;
    const { disputed, coverage, iou, known } = this.stats[tile];
    const place = this.order.indexOf(tile);
    byId("tile-name").textContent = tiles.ids[tile];
    const facts = [`salt ${(100 * coverage).toFixed(1)}\u00a0%`];
    if (known) facts.push(`IoU ${Math.min(...iou).toFixed(3)} to ${Math.max(...iou).toFixed(3)}`);
    if (known > 1) facts.push(`masks differ in ${disputed} of ${tiles.height * tiles.width} pixels`);
    byId("tile-facts").textContent = facts.join(" · ");
    byId("place").textContent = `${place + 1} of ${this.order.length}`;
    byId("previous").disabled = place === 0;
    byId("next").disabled = place === this.order.length - 1;
    if (tiles.mosaic) drawTile(this.image.firstChild, tiles, null, tile, "image");
    drawTile(this.label.firstChild, tiles, null, tile, "label");
    const best = Math.max(...iou);
    for (const run of runs) {
      const [canvas, , note] = run.card.children;
      const known = run.iou[tile] !== null;
      run.card.classList.toggle("absent", !known);
      canvas.hidden = !known;
      if (known) drawTile(canvas, { ...tiles, prob: run.prob }, run.masks, tile, this.view);
      note.textContent = known ? `IoU ${run.iou[tile].toFixed(3)}` : "no test tile of this run";
      note.classList.toggle("best", known && run.iou[tile] === best && Math.min(...iou) < best);
    }
    this.drawPoint();
  }

  drawThumbnail(button) {
    const tile = this.numbers.get(button);
    const { iou, known } = this.stats[tile];
    const [canvas, caption] = button.children;
    drawTile(canvas, this.tiles, null, tile, this.tiles.mosaic ? "image" : "label");
    const [low, high] = [Math.min(...iou).toFixed(2), Math.max(...iou).toFixed(2)];
    caption.textContent = !known ? "–" : low === high ? low : `${low}–${high}`;
    button.setAttribute("aria-label", `Tile ${this.tiles.ids[tile]}, IoU ${caption.textContent}`);
  }

  scrolled(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        this.visible.add(target);
        this.drawThumbnail(target);
      } else {
        this.visible.delete(target);
      }
    }
  }

  point(event, canvas) {
    const { width, height } = this.tiles;
    const place = (offset, size, count) => Math.min(Math.max(Math.floor((offset / size) * count), 0), count - 1);
    this.at = event && [
      place(event.offsetX, canvas.clientWidth, width),
      place(event.offsetY, canvas.clientHeight, height),
    ];
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.draw());
  }

  // Marks the pixel under the pointer in all cards, and tells each run's probability there.
  drawPoint() {
    byId("pixel").textContent = "";
    if (!this.at) return;
    const { width, height, labels } = this.tiles;
    const [x, y] = this.at;
    const pixel = (this.tile * height + y) * width + x;
    for (const card of [this.image, this.label, ...this.runs.map(({ card }) => card)]) {
      const context = card.firstChild.getContext("2d");
      context.strokeStyle = "#ff2fd6";
      context.lineWidth = 1;
      context.strokeRect(x - 2.5, y - 2.5, 6, 6);
    }
    byId("pixel").textContent = `row ${y}, column ${x}: ${labelText(labels[pixel])} in the label`;
    for (const { card, prob, iou } of this.runs) {
      if (iou[this.tile] === null) continue;
      card.lastChild.classList.remove("best");
      card.lastChild.textContent = `probability ${(prob[pixel] / 65535).toFixed(2)}`;
    }
  }
}
