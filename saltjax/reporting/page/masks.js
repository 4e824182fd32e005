"use strict";
// Masks of tiles from their probabilities, as saltjax.scoring.postprocess makes them.
//
// tiles = {count, height, width, prob: Uint16Array}, 65535 for probability 1.

// Returns the least uint16 probability that reaches a threshold, compared in float32 as in Python.
function cutOf(threshold) {
  const least = Math.fround(threshold);
  let cut = Math.max(0, Math.floor(threshold * 65535) - 2);
  while (cut < 65536 && Math.fround(cut / 65535) < least) cut++;
  return cut;
}

// Returns the area of the component that each pixel of a mask belongs to, 0 outside of it.
//
// The mask is prob >= cut; components are 8-connected, within a tile.
function componentAreas({ count, height, width, prob }, cut) {
  const areas = new Uint32Array(prob.length);
  const queue = new Uint32Array(height * width); // the pixels of one component
  for (let tile = 0; tile < count; tile++) {
    const first = tile * height * width;
    for (let start = first; start < first + height * width; start++) {
      if (prob[start] < cut || areas[start]) continue;
      let found = 1;
      queue[0] = start;
      areas[start] = 1;
      for (let next = 0; next < found; next++) {
        const x = (queue[next] - first) % width;
        const y = (queue[next] - first - x) / width;
        const right = Math.min(x + 1, width - 1);
        const below = Math.min(y + 1, height - 1);
        for (let v = Math.max(y - 1, 0); v <= below; v++) {
          for (let u = Math.max(x - 1, 0); u <= right; u++) {
            const pixel = first + v * width + u;
            if (prob[pixel] < cut || areas[pixel]) continue;
            areas[pixel] = 1;
            queue[found++] = pixel;
          }
        }
      }
      for (let i = 0; i < found; i++) areas[queue[i]] = found;
    }
  }
  return areas;
}

// A threshold and a minimum component size, with what they need of the tiles.
class Masks {
  // earlier: the masks before, whose components are taken over if the threshold is the same.
  constructor(tiles, threshold, minSize, earlier = null) {
    this.tiles = tiles;
    this.cut = cutOf(threshold);
    this.minSize = minSize;
    this.areas = earlier && earlier.cut === this.cut ? earlier.areas : null;
    if (minSize > 1 && !this.areas) this.areas = componentAreas(tiles, this.cut);
  }

  // Returns whether a pixel is predicted as salt.
  has(pixel) {
    if (this.tiles.prob[pixel] < this.cut) return false;
    return this.minSize <= 1 || this.areas[pixel] >= this.minSize;
  }
}
