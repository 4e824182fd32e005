"use strict";
// Colours of probabilities.

const VIRIDIS = [
  [68, 1, 84], [71, 45, 123], [59, 82, 139], [44, 114, 142], [33, 145, 140],
  [40, 174, 128], [94, 201, 98], [173, 220, 48], [253, 231, 37],
];

// Returns the colour of a probability, uint16.
function probabilityColor(value) {
  const position = (value / 65535) * (VIRIDIS.length - 1);
  const i = Math.min(Math.floor(position), VIRIDIS.length - 2);
  return VIRIDIS[i].map((c, k) => c + (VIRIDIS[i + 1][k] - c) * (position - i));
}
const PROBABILITY_COLORS = Uint8ClampedArray.from(
  { length: 3 * 256 },
  (_, i) => probabilityColor(Math.floor(i / 3) * 257)[i % 3],
);
