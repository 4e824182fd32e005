"use strict";
// All sections as small pictures, in order, to choose one from.

const ORDERS = {
  id: (a, b) => a.number - b.number,
  most: (a, b) => b.share - a.share,
  unsure: (a, b) => b.unsure - a.unsure,
};

class List {
  // choose(index) is called with the section that is clicked.
  constructor(sections, choose) {
    this.sections = sections;
    this.grid = byId("grid");
    this.visible = new Set();
    this.observer = new IntersectionObserver((entries) => this.scrolled(entries), { rootMargin: "200px" });
    this.cards = sections.all.map(({ name, prob, width, height }, number) => {
      const parts = [element("canvas", { width, height }), element("span", { class: "name" }, [name])];
      const card = element("button", { type: "button", title: name, "data-section": name }, [
        ...parts,
        element("span", { class: "caption" }),
      ]);
      card.addEventListener("click", () => choose(number));
      this.observer.observe(card);
      const undecided = prob.reduce((sum, p) => sum + (p > 13107 && p < 52428), 0);
      return { card, number, name: name.toLowerCase(), share: 0, unsure: undecided / prob.length };
    });
    this.byCard = new Map(this.cards.map((entry) => [entry.card, entry]));
    byId("sort").addEventListener("change", () => this.arrange());
    byId("find").addEventListener("input", () => this.arrange());
    this.arrange();
  }

  arrange() {
    const text = byId("find").value.trim().toLowerCase();
    const order = ORDERS[byId("sort").value];
    this.shown = this.cards.filter(({ name }) => name.includes(text)).sort((a, b) => order(a, b) || a.number - b.number);
    this.grid.replaceChildren(...this.shown.map(({ card }) => card));
    byId("shown").textContent = `${this.shown.length} of ${this.cards.length}`;
  }

  // Returns the section that stands so many places after another one in the list.
  beside(number, by) {
    const place = this.shown.findIndex((entry) => entry.number === number);
    const target = Math.min(Math.max(place + by, 0), this.shown.length - 1);
    return this.shown.length ? this.shown[target].number : number;
  }

  // Takes new masks.
  update() {
    for (const entry of this.cards) {
      const [salt, live] = this.sections.countsOf(entry.number);
      entry.share = live ? salt / live : 0;
      entry.card.lastChild.textContent = `${(100 * entry.share).toFixed(1)}\u00a0% salt`;
    }
    if (byId("sort").value === "most") this.arrange();
    for (const card of this.visible) this.draw(card);
  }

  mark(number) {
    for (const entry of this.cards) entry.card.setAttribute("aria-current", entry.number === number);
  }

  scrolled(entries) {
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) {
        this.visible.add(target);
        this.draw(target);
      } else this.visible.delete(target);
    }
  }

  draw(card) {
    const slice = this.sections.slice(0, this.byCard.get(card).number);
    paintSlice(card.firstChild, slice, { view: "mask", opacity: 0.6 });
  }
}
