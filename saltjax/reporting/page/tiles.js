"use strict";
// Pictures of a tile: its image, label, probability, predicted mask, and their difference.

const VIEWS = ["image", "label", "probability", "mask", "difference"];
// Okabe and Ito's colours, as in the figures: found, wrong and missed salt, and no label.
const COLORS = {
  tp: [0, 158, 115],
  fp: [230, 159, 0],
  fn: [0, 114, 178],
  unlabelled: [204, 121, 167],
};

// Returns what the label of a pixel says.
function labelText(label) {
  if (label === UNLABELLED) return "unlabelled";
  return label ? "salt" : "no salt";
}

// Returns the name in COLORS of what a pixel is tinted with in a view of labels; undefined for nothing.
function tintOf(view, label, found) {
  if (label === UNLABELLED) return "unlabelled";
  if (view === "label" || !(label || found)) return undefined;
  return found ? (label ? "tp" : "fp") : "fn";
}

// Draws a view of a tile on a canvas of its size; without its image, `image` is not to be asked for.
function drawTile(canvas, tiles, masks, tile, view) {
  const { height, width, prob, labels, mosaic, columns } = tiles;
  const context = canvas.getContext("2d");
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const needsImage = mosaic && (view === "image" || view === "difference");
  const picture = needsImage
    ? mosaic.getImageData((tile % columns) * width, Math.floor(tile / columns) * height, width, height)
    : context.createImageData(width, height);
  const { data } = picture;
  const first = tile * height * width;
  const set = (at, red, green, blue) => {
    data[at] = red;
    data[at + 1] = green;
    data[at + 2] = blue;
  };
  for (let i = 0; i < height * width; i++) {
    const at = 4 * i;
    const pixel = first + i;
    data[at + 3] = 255;
    if (view === "label" || view === "mask") {
      const grey = (view === "label" ? labels[pixel] : masks.has(pixel)) ? 255 : 0;
      set(at, grey, grey, grey);
    } else if (view === "probability") {
      set(at, ...PROBABILITY_COLORS.subarray(3 * (prob[pixel] >> 8), 3 * (prob[pixel] >> 8) + 3));
    } else if (view === "difference" && !mosaic) {
      set(at, 96, 96, 96);
    }
    if (view !== "label" && view !== "difference") continue;
    const color = COLORS[tintOf(view, labels[pixel], view === "difference" && masks.has(pixel))];
    if (color) for (let k = 0; k < 3; k++) data[at + k] = 0.45 * data[at + k] + 0.55 * color[k];
  }
  context.putImageData(picture, 0, 0);
}
