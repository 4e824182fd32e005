"use strict";
// A canvas with one slice: amplitudes, probability or mask over them, dead traces, outline and axes.

const MASK_COLOR = [230, 159, 0]; // Okabe and Ito's orange
const MARGIN = { left: 62, top: 44, right: 14, bottom: 8 };

// Returns the opacity, 0 to 1, of the colour of a probability uint16: low ones let the grey through.
const weightOf = (prob) => Math.min(1, prob / 32768);

// Writes red, green and blue of a pixel into data; look: {view, opacity}.
function blend(data, at, grey, prob, isSalt, { view, opacity }) {
  let weight = 0;
  let colors = MASK_COLOR;
  let from = 0;
  if (view === "mask") {
    weight = isSalt ? opacity : 0;
  } else if (view === "probability") {
    weight = opacity * weightOf(prob);
    colors = PROBABILITY_COLORS;
    from = 3 * (prob >> 8);
  }
  for (let k = 0; k < 3; k++) data[at + k] = grey + (colors[from + k] - grey) * weight;
  data[at + 3] = 255;
}

// Paints a slice on a canvas of one pixel each.
function paintSlice(canvas, { width, height, grey, prob, mask }, look) {
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) blend(picture.data, 4 * i, grey[i], prob[i], mask[i], look);
  context.putImageData(picture, 0, 0);
}

// Returns the outline of a mask as a path, in pixels; the border of the slice is none.
function outlineOf({ mask, width, height }) {
  const path = new Path2D();
  for (let y = 1; y < height; y++) {
    for (const [from, to] of runsOf(width, (x) => mask[y * width + x] !== mask[(y - 1) * width + x])) {
      path.moveTo(from, y);
      path.lineTo(to, y);
    }
  }
  for (let x = 1; x < width; x++) {
    for (const [from, to] of runsOf(height, (y) => mask[y * width + x] !== mask[y * width + x - 1])) {
      path.moveTo(x, from);
      path.lineTo(x, to);
    }
  }
  return path;
}

// Returns the place, in pixels, of a number on an axis whose pixels have increasing or decreasing numbers.
function placeOf(numbers, value) {
  const last = numbers.length - 1;
  const sign = numbers[last] < numbers[0] ? -1 : 1;
  let [low, high] = [0, last];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (sign * numbers[middle] <= sign * value) low = middle;
    else high = middle;
  }
  const span = numbers[high] - numbers[low];
  return low + 0.5 + (span ? (value - numbers[low]) / span : 0);
}

class Viewer {
  // told: {pick(x, y), read(x, y)}, called with the pixel that is chosen, or that is under the pointer.
  constructor(canvas, told) {
    this.canvas = canvas;
    this.told = told;
    this.picture = element("canvas");
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointerleave", () => told.read(null));
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    new ResizeObserver(() => this.draw()).observe(canvas.parentNode);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.draw());
  }

  // look: {view, opacity, outline, smooth, height, aspect}; aspect, height over width of a pixel, is null
  // where a slice may be stretched. marks: {x, y}, the pixels of the other slices, or null.
  show(slice, look, marks) {
    const same = this.slice && this.slice.width === slice.width && this.slice.height === slice.height;
    this.slice = slice;
    this.look = look;
    this.marks = marks;
    if (!same) this.part = { x: 0, y: 0, width: slice.width, height: slice.height };
    paintSlice(this.picture, slice, look);
    this.outline = look.outline ? outlineOf(slice) : null;
    this.draw();
  }

  get zoomed() {
    return this.part.width < this.slice.width;
  }

  layout() {
    const { width, height } = this.slice;
    const room = this.canvas.parentNode.clientWidth - MARGIN.left - MARGIN.right;
    const most = Math.max(260, 0.7 * innerHeight);
    let size = { width: room, height: (room * height) / width };
    const { aspect } = this.look;
    if (aspect) {
      const scale = Math.min(room / width, most / (height * aspect));
      size = { width: width * scale, height: height * scale * aspect };
    } else {
      size.height = Math.min(Math.max(size.height, 0.42 * room, 260), most);
    }
    size.height *= this.look.height;
    this.box = { left: MARGIN.left, top: MARGIN.top, ...size };
    const full = [MARGIN.left + size.width + MARGIN.right, MARGIN.top + size.height + MARGIN.bottom];
    [this.canvas.style.width, this.canvas.style.height] = full.map((n) => `${Math.round(n)}px`);
    const ratio = devicePixelRatio;
    [this.canvas.width, this.canvas.height] = full.map((n) => Math.round(n * ratio));
    const context = this.canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    return context;
  }

  draw() {
    if (!this.slice) return;
    const context = this.layout();
    const { box, part } = this;
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`);
    const scale = { x: box.width / part.width, y: box.height / part.height };
    const toX = (x) => box.left + (x - part.x) * scale.x;
    const toY = (y) => box.top + (y - part.y) * scale.y;
    context.save();
    context.beginPath();
    context.rect(box.left, box.top, box.width, box.height);
    context.clip();
    context.imageSmoothingEnabled = this.look.smooth || scale.x < 1 || scale.y < 1;
    context.imageSmoothingQuality = "high";
    const source = [part.x, part.y, part.width, part.height];
    context.drawImage(this.picture, ...source, box.left, box.top, box.width, box.height);
    context.fillStyle = hatch(context, color("card"), color("soft"));
    for (const { x, y, width, height } of this.slice.dead) {
      context.fillRect(toX(x), toY(y), width * scale.x, height * scale.y);
    }
    if (this.outline) {
      const path = new Path2D();
      path.addPath(this.outline, new DOMMatrix([scale.x, 0, 0, scale.y, toX(0), toY(0)]));
      context.lineCap = "square";
      for (const [width, stroke] of [[4, "rgb(0 0 0 / 65%)"], [1.7, "#fff"]]) {
        context.lineWidth = width;
        context.strokeStyle = stroke;
        context.stroke(path);
      }
    }
    context.restore();
    context.strokeStyle = color("soft");
    context.lineWidth = 1;
    context.strokeRect(box.left - 0.5, box.top - 0.5, box.width + 1, box.height + 1);
    this.drawAxes(context, toX, toY, color);
    this.canvas.style.touchAction = this.zoomed ? "none" : "pan-y";
  }

  drawAxes(context, toX, toY, color) {
    const { box, part, slice, marks } = this;
    context.fillStyle = context.strokeStyle = color("text");
    context.font = "12px system-ui, sans-serif";
    const visible = ({ numbers }, from, length) => {
      const ends = [Math.floor(from), Math.ceil(from + length) - 1];
      const [a, b] = ends.map((i) => numbers[Math.min(Math.max(i, 0), numbers.length - 1)]);
      return [Math.min(a, b), Math.max(a, b)];
    };
    context.textAlign = "center";
    const [left, right] = visible(slice.x, part.x, part.width);
    this.ticks = { x: [], y: [] };
    for (const value of ticks(left, right, Math.max(3, box.width / 90)).filter(Number.isInteger)) {
      const x = toX(placeOf(slice.x.numbers, value));
      context.fillRect(x - 0.5, box.top - 6, 1, 6);
      context.fillText(String(value), x, box.top - 10);
      this.ticks.x.push(value);
    }
    context.textAlign = "right";
    const [top, bottom] = visible(slice.y, part.y, part.height);
    for (const value of ticks(top, bottom, Math.max(3, box.height / 55))) {
      const y = toY(placeOf(slice.y.numbers, value));
      context.fillRect(box.left - 6, y - 0.5, 6, 1);
      context.fillText(shortNumber(value), box.left - 9, y + 4);
      this.ticks.y.push(value);
    }
    context.fillStyle = color("soft");
    context.textAlign = "center";
    context.fillText(slice.x.name, box.left + box.width / 2, 12);
    context.save();
    context.translate(12, box.top + box.height / 2);
    context.rotate(-Math.PI / 2);
    context.fillText(slice.y.name, 0, 0);
    context.restore();
    if (!marks) return;
    context.fillStyle = color("b");
    const inside = (at, from, length) => at >= from && at <= from + length;
    const triangle = (...points) => {
      context.beginPath();
      for (const [x, y] of points) context.lineTo(x, y);
      context.fill();
    };
    const x = toX(marks.x + 0.5);
    const y = toY(marks.y + 0.5);
    if (inside(x, box.left, box.width)) triangle([x, box.top], [x - 6, box.top - 9], [x + 6, box.top - 9]);
    if (inside(y, box.top, box.height)) triangle([box.left, y], [box.left - 9, y - 6], [box.left - 9, y + 6]);
  }

  // Returns the pixel of the slice at a pointer, null outside of it.
  pixelAt(event) {
    const { box, part } = this;
    const x = Math.floor(part.x + ((event.offsetX - box.left) / box.width) * part.width);
    const y = Math.floor(part.y + ((event.offsetY - box.top) / box.height) * part.height);
    return x >= 0 && y >= 0 && x < this.slice.width && y < this.slice.height ? { x, y } : null;
  }

  press(event) {
    this.drag = { x: event.offsetX, y: event.offsetY, part: { ...this.part }, moved: false };
    this.canvas.setPointerCapture(event.pointerId);
  }

  move(event) {
    const { drag, box } = this;
    if (drag) {
      const [dx, dy] = [event.offsetX - drag.x, event.offsetY - drag.y];
      drag.moved ||= Math.hypot(dx, dy) > 4;
      if (this.zoomed && drag.moved) {
        this.setPart({
          ...drag.part,
          x: drag.part.x - (dx / box.width) * drag.part.width,
          y: drag.part.y - (dy / box.height) * drag.part.height,
        });
      }
    }
    this.told.read(this.pixelAt(event));
  }

  release(event) {
    const pixel = this.pixelAt(event);
    if (this.drag && !this.drag.moved && pixel) this.told.pick(pixel);
    this.drag = null;
  }

  // Turning the wheel scrolls the page, with Ctrl or two fingers on a touchpad it zooms.
  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    const { box } = this;
    const share = (at, from, length) => Math.min(Math.max((at - from) / length, 0), 1);
    const [x, y] = [share(event.offsetX, box.left, box.width), share(event.offsetY, box.top, box.height)];
    this.zoom(event.deltaY < 0 ? 1.25 : 0.8, x, y);
  }

  // Zooms by a factor, 0 for all of the slice, about a place that is given as shares of the box.
  zoom(factor, x = 0.5, y = 0.5) {
    const { part, slice } = this;
    const size = (now, all) => (factor ? Math.max(Math.min(now / factor, all), Math.min(all, 8)) : all);
    const [width, height] = [size(part.width, slice.width), size(part.height, slice.height)];
    const from = { x: part.x + (part.width - width) * x, y: part.y + (part.height - height) * y };
    this.setPart({ ...from, width, height });
  }

  setPart(part) {
    const within = (from, length, all) => Math.min(Math.max(from, 0), all - length);
    const { width, height } = this.slice;
    this.part = { ...part, x: within(part.x, part.width, width), y: within(part.y, part.height, height) };
    this.draw();
  }
}

// Returns the pattern of dead traces.
function hatch(context, ground, line) {
  const tile = element("canvas", { width: 8, height: 8 });
  const pen = tile.getContext("2d");
  pen.fillStyle = ground;
  pen.fillRect(0, 0, 8, 8);
  pen.strokeStyle = line;
  pen.beginPath();
  for (const shift of [-8, 0, 8]) {
    pen.moveTo(shift, 8);
    pen.lineTo(shift + 8, 0);
  }
  pen.stroke();
  return context.createPattern(tile, "repeat");
}
