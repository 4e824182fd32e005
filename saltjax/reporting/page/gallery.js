"use strict";
// The gallery of tiles: order, filter, view, and one tile enlarged in a dialog.

// By the value of #sort: (a, b, i, j) for stats and numbers of two tiles; equal ones stay by number.
const ORDERS = {
  worst: (a, b) => a.iou - b.iou || b.wrong - a.wrong,
  error: (a, b) => b.wrong - a.wrong,
  coverage: (a, b) => a.coverage - b.coverage,
  id: () => 0,
};
const FILTERS = {
  all: () => true,
  empty: (s) => s.tp + s.fn === 0,
  salt: (s) => s.tp + s.fn > 0,
  false: (s) => s.tp + s.fn === 0 && s.fp > 0,
  missed: (s) => s.tp + s.fn > 0 && s.tp === 0,
  poor: (s) => s.iou <= 0.5,
};

class Gallery {
  constructor(tiles, ids) {
    this.tiles = tiles;
    this.ids = ids;
    this.view = tiles.mosaic ? "difference" : "probability";
    this.grid = document.getElementById("grid");
    this.dialog = document.getElementById("enlarged");
    this.visible = new Set();
    this.observer = new IntersectionObserver((entries) => this.scrolled(entries), {
      rootMargin: "200px",
    });
    this.cards = ids.map((id, tile) => this.card(id, tile));
    this.numbers = new Map(this.cards.map((card, tile) => [card, tile]));
    this.views = document.querySelectorAll("#views input");
    for (const input of this.views) {
      input.addEventListener("change", () => this.setView(input.value));
      input.disabled = input.value === "image" && !tiles.mosaic;
    }
    for (const id of ["sort", "filter"]) {
      document.getElementById(id).addEventListener("change", () => this.arrange());
    }
    document.getElementById("find").addEventListener("input", () => this.arrange());
    this.grid.addEventListener("keydown", (event) => this.moveFocus(event));
    this.openDialog();
    document.addEventListener("keydown", (event) => this.viewKey(event));
    this.setView(this.view);
  }

  card(id, tile) {
    const canvas = element("canvas", { width: this.tiles.width, height: this.tiles.height });
    const caption = element("span", { class: "caption" });
    const card = element("button", { type: "button", "data-tile": id, tabindex: -1 }, [canvas, caption]);
    card.addEventListener("click", () => this.enlarge(tile));
    card.addEventListener("focus", () => this.makeReachable(card));
    this.observer.observe(card);
    return card;
  }

  // Takes new masks and their confusion cells; the order follows with `arrange`.
  update(masks, cells) {
    this.masks = masks;
    this.stats = cells.map((cell) => ({
      ...cell,
      iou: iouOf(cell),
      wrong: cell.fp + cell.fn,
      coverage: coverageOf(cell),
    }));
    this.redraw();
  }

  redraw() {
    for (const card of this.visible) this.draw(card);
    if (this.dialog.open) this.drawEnlarged();
  }

  draw(card) {
    const tile = this.numbers.get(card);
    if (!this.stats) return;
    drawTile(card.firstChild, this.tiles, this.masks, tile, this.view);
    card.lastChild.textContent = `IoU ${this.stats[tile].iou.toFixed(2)}`;
    card.setAttribute("aria-label", `${this.ids[tile]}, IoU ${this.stats[tile].iou.toFixed(2)}`);
    card.title = this.ids[tile];
  }

  scrolled(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        this.visible.add(target);
        this.draw(target);
      } else {
        this.visible.delete(target);
      }
    }
  }

  // Puts the tiles that pass the filter in order; the others are hidden at the end.
  arrange() {
    const order = ORDERS[document.getElementById("sort").value];
    const accepts = FILTERS[document.getElementById("filter").value];
    const text = document.getElementById("find").value.trim().toLowerCase();
    const focused = document.activeElement;
    const tiles = this.ids.map((_, tile) => tile);
    tiles.sort((i, j) => order(this.stats[i], this.stats[j]) || i - j);
    const shows = (tile) => accepts(this.stats[tile]) && this.ids[tile].toLowerCase().includes(text);
    this.shown = tiles.filter(shows);
    const hidden = tiles.filter((tile) => !shows(tile));
    for (const tile of this.shown) this.cards[tile].hidden = false;
    for (const tile of hidden) this.cards[tile].hidden = true;
    const cards = [...this.shown, ...hidden].map((tile) => this.cards[tile]);
    // Moving a card takes the focus from it.
    if (cards.some((card, i) => card !== this.grid.children[i])) this.grid.append(...cards);
    if (this.numbers.has(focused) && !focused.hidden) focused.focus({ preventScroll: true });
    else if (this.shown.length) this.makeReachable(this.cards[this.shown[0]]);
    document.getElementById("shown").textContent = `${this.shown.length} of ${this.ids.length} ${page.noun}s`;
  }

  // One card is in the order of the Tab key; the arrow keys lead to the others.
  makeReachable(card) {
    if (this.reachable) this.reachable.tabIndex = -1;
    this.reachable = card;
    card.tabIndex = 0;
  }

  moveFocus(event) {
    const card = event.target.closest("[data-tile]");
    if (!card) return;
    const columns = getComputedStyle(this.grid).gridTemplateColumns.split(" ").length;
    const last = this.shown.length - 1;
    const place = this.shown.indexOf(this.numbers.get(card));
    const target = {
      ArrowLeft: place - 1,
      ArrowRight: place + 1,
      ArrowUp: place - columns,
      ArrowDown: place + columns,
      Home: 0,
      End: last,
    }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    if (target >= 0 && target <= last) this.cards[this.shown[target]].focus();
  }

  setView(view) {
    this.view = view;
    for (const input of this.views) input.checked = input.value === view;
    document.getElementById("legend").dataset.view = view;
    if (this.masks) this.redraw();
  }

  // The keys 1 to 5 choose the view, unless they are typed into a field.
  viewKey(event) {
    const typing = event.target.matches("input:not([type=radio], [type=range]), select, textarea");
    if (typing || event.ctrlKey || event.altKey || event.metaKey) return;
    const view = VIEWS[Number(event.key) - 1];
    if (view && (view !== "image" || this.tiles.mosaic)) this.setView(view);
  }

  openDialog() {
    const { dialog } = this;
    this.large = dialog.querySelector(".large");
    this.small = VIEWS.map((view) => {
      const canvas = element("canvas");
      const button = element("button", { type: "button", "data-view": view }, [canvas, view]);
      button.disabled = view === "image" && !this.tiles.mosaic;
      button.addEventListener("click", () => this.setView(view));
      return button;
    });
    dialog.querySelector(".small").append(...this.small);
    for (const [name, step] of [["previous", -1], ["next", 1]]) {
      dialog.querySelector(`.${name}`).addEventListener("click", () => this.step(step));
    }
    dialog.querySelector(".close").addEventListener("click", () => dialog.close());
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (step) this.step(step);
    });
    dialog.addEventListener("close", () => this.cards[this.enlarged].focus());
    this.large.addEventListener("pointermove", (event) => this.readPixel(event));
    this.large.addEventListener("pointerleave", () => this.readPixel(null));
  }

  enlarge(tile) {
    this.enlarged = tile;
    if (!this.dialog.open) this.dialog.showModal();
    this.drawEnlarged();
  }

  step(step) {
    const place = this.shown.indexOf(this.enlarged) + step;
    if (place >= 0 && place < this.shown.length) this.enlarge(this.shown[place]);
  }

  drawEnlarged() {
    const tile = this.enlarged;
    const stats = this.stats[tile];
    drawTile(this.large, this.tiles, this.masks, tile, this.view);
    for (const [i, button] of this.small.entries()) {
      button.setAttribute("aria-pressed", VIEWS[i] === this.view);
      if (!button.disabled) drawTile(button.firstChild, this.tiles, this.masks, tile, VIEWS[i]);
    }
    const { dialog } = this;
    dialog.querySelector("h2").textContent = this.ids[tile];
    dialog.querySelector(".facts").textContent =
      `IoU ${stats.iou.toFixed(3)} · salt ${(100 * stats.coverage).toFixed(1)}\u00a0% · ` +
      `pixels: ${stats.tp} found, ${stats.fp} wrongly predicted, ${stats.fn} missed`;
    dialog.querySelector(".place").textContent =
      `${this.shown.indexOf(tile) + 1} of ${this.shown.length}`;
    this.readPixel(null);
  }

  // Tells the probability at the pointer.
  readPixel(event) {
    const output = this.dialog.querySelector(".pixel");
    output.textContent = "";
    if (!event) return;
    const { height, width, prob, labels } = this.tiles;
    const x = Math.floor((event.offsetX / this.large.clientWidth) * width);
    const y = Math.floor((event.offsetY / this.large.clientHeight) * height);
    if (x < 0 || y < 0 || x >= width || y >= height) return;
    const pixel = (this.enlarged * height + y) * width + x;
    output.textContent =
      `row ${y}, column ${x}: probability ${(prob[pixel] / 65535).toFixed(3)}, ` +
      labelText(labels[pixel]);
  }
}
