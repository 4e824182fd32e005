"use strict";
// The page of a run: charts of its training and calibration, and the two sliders.

const page = JSON.parse(document.getElementById("run-data").textContent);
const NAMES = { f1: "F1", iou: "IoU", kaggle_map: "Kaggle mAP" };

function drawTraining() {
  const { history, bestEpoch, bestName } = page;
  if (!history.length) return;
  const x = { label: "epoch", min: 1, max: Math.max(history.length, 2), whole: true };
  const series = (key, name, kind) => ({
    name,
    kind,
    points: history.filter((row) => key in row).map((row) => [row.epoch, row[key]]),
  });
  const draw = (id, lines, log) => {
    const figure = byId(id);
    const used = lines
      .map((line) => ({ ...line, points: drawable(line.points, line.name, figure) }))
      .filter(({ points }) => points.length);
    const chart = new Chart(figure, { x, y: range(used, log), series: used });
    if (bestEpoch) chart.setMarks([{ x: bestEpoch, name: bestName, kind: "chosen" }]);
  };
  draw("loss", [series("train_loss", "training", "a"), series("val_loss", "validation", "b")]);
  draw("accuracy", [
    series("train_accuracy", "training", "a"),
    series("val_accuracy", "validation", "b"),
    series("val_kaggle_map", "validation, Kaggle mAP at 0.5", "c"),
  ]);
  const rates = series("learning_rate", "learning rate", "a");
  draw("rate", [rates], rates.points.every((point) => point[1] > 1e-30));
}

function drawCalibration({ bins }) {
  const axis = (label) => ({ label, min: 0, max: 1 });
  const points = bins.map((bin) => [bin.mean_probability, bin.salt_share]);
  const chart = new Chart(byId("reliability"), {
    x: axis("mean predicted probability"),
    y: axis("share of salt"),
    series: [
      { name: "share of salt", points, kind: "a" },
      { name: "", points: [[0, 0], [1, 1]], kind: "diagonal" },
    ],
    square: true,
  });
  chart.setMarks(points.map(([x, y]) => ({ x, y, kind: "a" })));
}

// The sliders and everything that follows them.
class Explorer {
  constructor(tiles, ids, chosen) {
    this.tiles = tiles;
    this.chosen = chosen;
    this.gallery = new Gallery(tiles, ids);
    const most = Math.max(Math.floor((tiles.height * tiles.width) / 4), chosen.minArea, 1);
    this.choice = new Choice(chosen, most, () => this.changed());
    byId("reset").addEventListener("click", () => this.reset());
    const curve = precisionRecall(tiles);
    const axis = (label) => ({ label, min: 0, max: 1 });
    this.curve = new Chart(byId("precision-recall"), {
      x: axis("recall"),
      y: axis("precision"),
      series: [{ name: "precision", points: curve.map((p) => [p.recall, p.precision]), kind: "a" }],
      square: true,
    });
    const steps = Array.from({ length: 101 }, (_, i) => i / 100);
    const over = scoresOver(tiles, steps);
    this.over = new Chart(byId("scores-over"), {
      x: axis("threshold"),
      y: axis("score"),
      series: Object.entries(NAMES).map(([key, name], i) => ({
        name,
        kind: "abc"[i],
        points: over.filter((s) => s[key] !== null).map((s) => [s.threshold, s[key]]),
      })),
      square: true,
    });
    this.runPoint = this.point(confusionOf(new Masks(tiles, chosen.threshold, chosen.minArea)));
    this.reset();
  }

  reset() {
    this.choice.reset();
    this.update();
    this.gallery.arrange();
  }

  // Redraws once a frame, and puts the gallery in order when the sliders rest.
  changed() {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.update());
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.gallery.arrange(), 400);
  }

  point(cells) {
    const { recall, precision } = scoresOf(cells);
    return { x: recall ?? 0, y: precision ?? 0 };
  }

  update() {
    const { chosen } = this;
    const { threshold, minSize, isChosen } = this.choice;
    this.choice.show();
    this.masks = new Masks(this.tiles, threshold, minSize, this.masks);
    const cells = confusionOf(this.masks);
    this.showScores(scoresOf(cells), isChosen);
    this.showConfusion(total(cells));
    this.showClasses(cells);
    const own = { ...this.runPoint, name: "the run’s", kind: "chosen" };
    this.curve.setMarks(isChosen ? [own] : [own, { ...this.point(cells), kind: "now" }]);
    const rule = { x: chosen.threshold, name: "the run’s", kind: "chosen" };
    this.over.setMarks(isChosen ? [rule] : [rule, { x: threshold, kind: "now" }]);
    this.showCommands();
    this.gallery.update(this.masks, cells);
  }

  showScores(scores, isChosen) {
    for (const node of document.querySelectorAll("[data-score]")) {
      const key = node.dataset.score;
      const value = scores[key];
      const reported = this.chosen.native[key];
      let note = "";
      if (value !== null && reported && isChosen) {
        note = page.result.units === 1 ? "" : `${reported.low.toFixed(3)}–${reported.high.toFixed(3)}`;
      } else if (value !== null && reported) {
        const change = value - reported.value;
        note = `${change < 0 ? "−" : "+"}${Math.abs(change).toFixed(4)}`;
      }
      node.textContent = value === null ? "–" : value.toFixed(4);
      node.append(" ", element("small", {}, [note]));
    }
    byId("chosen-note").hidden = isChosen;
  }

  showConfusion(cells) {
    const all = cells.tp + cells.fp + cells.fn + cells.tn;
    for (const [key, value] of Object.entries(cells)) {
      byId(key).textContent = `${value.toLocaleString("en")} (${((100 * value) / all).toFixed(1)}\u00a0%)`;
    }
  }

  showClasses(cells) {
    const classes = cells.map(coverageClass);
    const rows = page.tiles.coverageClasses.map((name, c) => {
      const of = cells.filter((_, tile) => classes[tile] === c);
      if (!of.length) return null;
      const scores = scoresOf(of);
      const texts = ["f1", "iou", "kaggle_map", "accuracy"].map((key) =>
        scores[key] === null ? "–" : scores[key].toFixed(4),
      );
      const cell = (text) => element("td", {}, [String(text)]);
      const title = element("th", { scope: "row" }, [coverageText(name)]);
      const row = element("tr", { "data-coverage": name }, [title, ...[of.length, ...texts].map(cell)]);
      return row;
    });
    byId("by-coverage").replaceChildren(...rows.filter(Boolean));
  }

  showCommands() {
    for (const mode of ["evaluate", "predict"]) {
      setWords(byId(`${mode}-command`), page.commands[mode] + this.choice.flags);
    }
  }
}

// Returns a class of salt coverage as text: "0.1-0.4" is "10–40 %".
function coverageText(name) {
  if (name === "0") return "none";
  return `${name.split("-").map((share) => Math.round(100 * Number(share))).join("–")}\u00a0%`;
}

async function exploreTiles() {
  const { ids, height, width, columns } = page.tiles;
  const [differences, labels, mosaic] = await Promise.all([
    unpack("prob"),
    unpack("labels"),
    readMosaic("mosaic"),
  ]);
  const prob = fromDifferences(differences, width);
  const tiles = { count: ids.length, height, width, columns, prob, labels, mosaic };
  window.explorer = new Explorer(tiles, ids, page.result);
  byId("explore").hidden = false;
}

// Tells a page that training no longer refreshes: a run that was killed cannot.
function showAge({ written, history }) {
  const seconds = (Date.now() - written) / 1000;
  const expected = history[history.length - 1]?.seconds ?? 0;
  byId("age").textContent = Math.round(seconds / 60);
  byId("stale").hidden = seconds < 3 * expected + 60;
}

drawTraining();
if (page.written) showAge(page);
if (page.result) drawCalibration(page.result.calibration);
if (page.tiles) {
  exploreTiles()
    .catch((error) => {
      byId("loading").textContent = `The test ${page.noun}s cannot be shown: ${error.message}`;
      throw error;
    })
    .then(() => {
      byId("loading").hidden = true;
      document.body.dataset.ready = "true";
    });
} else {
  document.body.dataset.ready = "true";
}
