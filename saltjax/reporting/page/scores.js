"use strict";
// Scores of tiles from their masks, the same numbers as saltjax.scoring: of the labelled pixels.
//
// tiles = {count, height, width, prob: Uint16Array, labels: Uint8Array}, see masks.js.

const KAGGLE_TWENTIETHS = [10, 11, 12, 13, 14, 15, 16, 17, 18, 19];
const COVERAGE_EDGES = [0, 0.1, 0.4]; // upper bounds of the classes but the last, inclusive

// Returns for each tile {tp, fp, fn, tn}, numbers of labelled pixels.
function confusionOf(masks) {
  const { count, height, width, labels } = masks.tiles;
  const cells = [];
  for (let tile = 0, pixel = 0; tile < count; tile++) {
    const found = [0, 0, 0, 0]; // by 2 * label + predicted
    for (const end = pixel + height * width; pixel < end; pixel++) {
      if (labels[pixel] !== UNLABELLED) found[2 * labels[pixel] + (masks.has(pixel) ? 1 : 0)]++;
    }
    cells.push({ tp: found[3], fp: found[1], fn: found[2], tn: found[0] });
  }
  return cells;
}

// Returns the IoU of salt of a tile; an empty prediction of no salt has 1.
function iouOf({ tp, fp, fn }) {
  const union = tp + fp + fn;
  return union ? tp / union : 1;
}

// Returns the challenge's precision of a tile, see docs/scores.md.
function kaggleOf({ tp, fp, fn }) {
  const union = tp + fp + fn;
  if (!union) return 1;
  return KAGGLE_TWENTIETHS.filter((twentieth) => 20 * tp > twentieth * union).length / 10;
}

// Returns the sums of confusion cells over tiles.
function total(cells) {
  const sum = { tp: 0, fp: 0, fn: 0, tn: 0 };
  for (const cell of cells) for (const key in sum) sum[key] += cell[key];
  return sum;
}

// Returns the scores of tiles; those of salt are null where there is none in the labels.
function scoresOf(cells) {
  const mean = (score) => cells.reduce((sum, cell) => sum + score(cell), 0) / cells.length;
  const { tp, fp, fn, tn } = total(cells);
  const ofSalt = (part, whole) => (tp + fn === 0 ? null : whole ? part / whole : 0);
  return {
    f1: ofSalt(2 * tp, 2 * tp + fp + fn),
    iou: mean(iouOf),
    kaggle_map: mean(kaggleOf),
    precision: ofSalt(tp, tp + fp),
    recall: ofSalt(tp, tp + fn),
    accuracy: (tp + tn) / (tp + fp + fn + tn),
  };
}

// Returns the share of salt in the labelled pixels of a tile with these confusion cells.
function coverageOf({ tp, fp, fn, tn }) {
  return (tp + fn) / (tp + fp + fn + tn);
}

// Returns the class of salt coverage, 0 to 3, of a tile with these confusion cells.
function coverageClass(cells) {
  const coverage = coverageOf(cells);
  const found = COVERAGE_EDGES.findIndex((edge) => coverage <= edge);
  return found < 0 ? COVERAGE_EDGES.length : found;
}

// Returns the scores at each of K increasing thresholds without a minimum size, [{threshold, f1 …}].
//
// A histogram of each tile, by the thresholds that its pixels reach, spares K passes over the pixels.
function scoresOver({ count, height, width, prob, labels }, thresholds) {
  const k = thresholds.length;
  const reached = new Uint8Array(65536); // of a probability: how many thresholds it reaches
  for (const threshold of thresholds) {
    for (let p = cutOf(threshold); p < 65536; p++) reached[p]++;
  }
  const above = Array.from({ length: count }, () => [new Int32Array(k + 2), new Int32Array(k + 2)]);
  for (let tile = 0, pixel = 0; tile < count; tile++) {
    for (const end = pixel + height * width; pixel < end; pixel++) {
      if (labels[pixel] !== UNLABELLED) above[tile][labels[pixel]][reached[prob[pixel]]]++;
    }
    for (const histogram of above[tile]) {
      for (let i = k - 1; i >= 0; i--) histogram[i] += histogram[i + 1];
    }
  }
  return thresholds.map((threshold, i) => {
    const cells = above.map(([none, salt]) => {
      const [tp, fp] = [salt[i + 1], none[i + 1]];
      return { tp, fp, fn: salt[0] - tp, tn: none[0] - fp };
    });
    return { threshold, ...scoresOf(cells) };
  });
}

// Returns the precision-recall curve over all labelled pixels, [{threshold, precision, recall}], by recall.
//
// Of its 65536 points those are left out that differ little from the one before.
function precisionRecall({ prob, labels }) {
  const histograms = [new Float64Array(65536), new Float64Array(65536)];
  for (let i = 0; i < prob.length; i++) {
    if (labels[i] !== UNLABELLED) histograms[labels[i]][prob[i]]++;
  }
  const salt = histograms[1].reduce((a, b) => a + b, 0);
  const points = [];
  let [tp, fp] = [0, 0];
  for (let p = 65535; p >= 0 && salt; p--) {
    tp += histograms[1][p];
    fp += histograms[0][p];
    if (!tp) continue;
    const point = { threshold: p / 65535, precision: tp / (tp + fp), recall: tp / salt };
    const last = points[points.length - 1];
    const step = last
      ? Math.max(point.recall - last.recall, Math.abs(point.precision - last.precision))
      : 1;
    if (step > 0.002 || p === 0) points.push(point);
  }
  return points;
}
