"use strict";
// The sections of a page with their masks and, of a volume, its slices in three directions.

// Returns count numbers: those given, or the ones that {first, step} stands for.
function numbersOf(given, count) {
  if (Array.isArray(given)) return given;
  return Array.from({ length: count }, (_, i) => given.first + i * given.step);
}

// Returns [start, stop] of each run of indices below n for which test(i) is true.
function runsOf(n, test) {
  const runs = [];
  for (let i = 0; i < n; i++) {
    if (!test(i)) continue;
    const start = i;
    while (i < n && test(i)) i++;
    runs.push([start, i]);
  }
  return runs;
}

// What a page holds; page is its data, see section_report.py.
//
// A slice is {width, height, x, y, grey, prob, mask, dead}: its arrays have one value for each pixel, row
// by row; x and y are its axes, {name, numbers}; dead are rectangles {x, y, width, height} in pixels.
class Sections {
  constructor(page, grey, prob, live) {
    let [pixel, column] = [0, 0];
    this.all = page.sections.map((shape) => {
      const { height, width } = shape;
      const pixels = [pixel, (pixel += height * width)];
      return {
        ...shape,
        count: 1,
        columns: numbersOf(shape.columns, width),
        grey: grey.subarray(...pixels),
        prob: prob.subarray(...pixels),
        live: live.subarray(column, (column += width)),
      };
    });
    const [, across, down] = page.steps;
    this.pixelArea = across * down;
    this.volume = page.kind === "volume";
    this.names = { along: page.along, across: page.across };
    this.rows = numbersOf(page.rows, Math.max(...page.sections.map(({ height }) => height)));
    this.rowName = "";
    this.masks = [];
    this.counts = [];
  }

  // How many slices there are in a direction: 0 the sections, 1 across them, 2 of equal time or depth.
  count(direction) {
    const { width, height } = this.all[0];
    return [this.all.length, width, height][direction];
  }

  // Returns the numbers of the slices in a direction of a volume.
  numbers(direction) {
    const sections = () => this.all.map(({ name }) => Number(name));
    return direction === 0 ? sections() : direction === 1 ? this.all[0].columns : this.rows;
  }

  // Sets threshold and minimum component size, in pixels of the input.
  setRule(threshold, minArea) {
    this.threshold = threshold;
    this.minSize = Math.ceil(minArea / this.pixelArea);
    this.stale = new Set(this.all.keys());
    this.counts = [];
  }

  maskOf(i) {
    if (this.stale.delete(i)) {
      this.masks[i] = new Masks(this.all[i], this.threshold, this.minSize, this.masks[i]);
    }
    return this.masks[i];
  }

  isSalt(i, row, column) {
    const { width, live } = this.all[i];
    return live[column] === 1 && this.maskOf(i).has(row * width + column);
  }

  // Returns [pixels of salt, pixels of live traces] of a section.
  countsOf(i) {
    if (!this.counts[i]) {
      const { height, width, live } = this.all[i];
      const mask = this.maskOf(i);
      let [salt, alive] = [0, 0];
      for (let column = 0; column < width; column++) {
        if (!live[column]) continue;
        alive += height;
        for (let row = 0; row < height; row++) salt += mask.has(row * width + column);
      }
      this.counts[i] = [salt, alive];
    }
    return this.counts[i];
  }

  // Returns the share of salt in all sections, null if every trace is dead.
  share() {
    let [salt, alive] = [0, 0];
    for (const i of this.all.keys()) {
      const [more, all] = this.countsOf(i);
      salt += more;
      alive += all;
    }
    return alive ? salt / alive : null;
  }

  slice(direction, index) {
    return [this.section, this.across, this.level][direction].call(this, index);
  }

  section(index) {
    const { height, width, columns, grey, prob, live } = this.all[index];
    const x = { name: this.names.across, numbers: columns };
    const y = { name: this.rowName, numbers: this.rows };
    const masks = this.maskOf(index);
    const mask = Uint8Array.from(prob, (_, pixel) => live[pixel % width] && masks.has(pixel));
    const dead = runsOf(width, (i) => !live[i]).map(([from, to]) => {
      return { x: from, y: 0, width: to - from, height };
    });
    return { width, height, x, y, grey, prob, mask, dead };
  }

  across(column) {
    const { height } = this.all[0];
    const x = { name: this.names.along, numbers: this.numbers(0) };
    const y = { name: this.rowName, numbers: this.rows };
    const dead = runsOf(this.all.length, (i) => !this.all[i].live[column]).map(([from, to]) => {
      return { x: from, y: 0, width: to - from, height };
    });
    return this.gather(this.all.length, height, { x, y, dead }, (u, v) => [u, v, column]);
  }

  level(row) {
    const { width } = this.all[0];
    const height = this.all.length;
    const x = { name: this.names.across, numbers: this.all[0].columns };
    // As on a map, numbers increase upwards.
    const y = { name: this.names.along, numbers: this.numbers(0).reverse() };
    const dead = [];
    for (let v = 0; v < height; v++) {
      for (const [from, to] of runsOf(width, (i) => !this.all[height - 1 - v].live[i])) {
        dead.push({ x: from, y: v, width: to - from, height: 1 });
      }
    }
    return this.gather(width, height, { x, y, dead }, (u, v) => [height - 1 - v, row, u]);
  }

  // Returns a slice whose pixel (u, v) is at [section, row, column] = place(u, v).
  gather(width, height, rest, place) {
    const grey = new Uint8Array(width * height);
    const prob = new Uint16Array(width * height);
    const mask = new Uint8Array(width * height);
    for (let v = 0, at = 0; v < height; v++) {
      for (let u = 0; u < width; u++, at++) {
        const [i, row, column] = place(u, v);
        const section = this.all[i];
        const pixel = row * section.width + column;
        grey[at] = section.grey[pixel];
        prob[at] = section.prob[pixel];
        mask[at] = this.isSalt(i, row, column);
      }
    }
    return { width, height, grey, prob, mask, ...rest };
  }
}
