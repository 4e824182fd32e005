"use strict";
// The page of several runs: table, curves and tiles, and which runs are hidden.

const page = JSON.parse(byId("runs-data").textContent);
const hidden = new Set();
const charts = [];
const isUnfinished = (run) => run >= page.completed;

function runTitle(run) {
  return isUnfinished(run) ? `${page.names[run]} (not complete)` : page.names[run];
}

function nameOf(row) {
  const name = row.link
    ? element("a", { href: row.link }, [row.name])
    : element("span", {}, [row.name]);
  if (row.mean) return element("span", {}, [name, element("small", {}, [row.mean])]);
  return element("span", { class: "run-name" }, [runKey(row.run), name]);
}

function drawTable() {
  const groups = [...new Set(page.columns.map(({ group }) => group))];
  const shown = ["test", "difference"];
  const isDifference = ({ group }) => group.startsWith("difference");
  const table = new SortableTable(byId("score-table"), page.columns, page.rows, {
    header: nameOf,
    scaled: isDifference,
  });
  for (const group of groups) {
    const box = element("input", { type: "checkbox", value: group });
    box.checked = shown.includes(group);
    if (box.checked) table.showGroup(group, true);
    box.addEventListener("change", () => table.showGroup(group, box.checked));
    byId("groups").append(element("label", {}, [box, group]));
  }
  table.draw();
}

function drawCurves() {
  for (const [key, title] of page.titles) {
    const figure = element("figure", { id: key, "data-title": title }, [element("figcaption", {}, [title])]);
    const series = page.curves
      .filter(({ values }) => key in values)
      .map(({ run, best, values }) => {
        const all = values.epoch.map((epoch, i) => [epoch, values[key][i]]);
        const points = drawable(all, runTitle(run), figure);
        const tested = points.find(([epoch]) => epoch === best) ?? null;
        return { run, title: runTitle(run), points, best: tested };
      })
      .filter(({ points }) => points.length);
    if (!series.length && !figure.querySelector(".left-out")) continue;
    byId("charts").append(figure);
    const positive = series.every(({ points }) => points.every((point) => point[1] > 1e-30));
    charts.push(new CurvesChart(figure, title, series, key === "learning_rate" && positive));
  }
}

function drawLegend() {
  const boxes = page.names.map((_, run) => {
    const box = element("input", { type: "checkbox", value: run });
    box.checked = true;
    box.addEventListener("change", () => hideRuns(boxes));
    byId("legend-of-runs").append(element("label", {}, [box, runKey(run), runTitle(run)]));
    return box;
  });
  for (const [id, checked] of [["all-runs", true], ["no-runs", false]]) {
    byId(id).addEventListener("click", () => {
      for (const box of boxes) box.checked = checked;
      hideRuns(boxes);
    });
  }
}

function hideRuns(boxes) {
  hidden.clear();
  for (const [run, box] of boxes.entries()) if (!box.checked) hidden.add(run);
  for (const chart of charts) chart.hide(hidden);
  if (window.sideBySide) window.sideBySide.hide(hidden);
}

async function showTiles({ ids, height, width, columns, runs }) {
  const [labels, mosaic] = await Promise.all([unpack("labels"), readMosaic("mosaic")]);
  const tiles = { ids, count: ids.length, height, width, columns, labels, mosaic };
  const unpacked = runs.map(async (run) => ({
    ...run,
    name: page.names[run.run],
    prob: fromByteDifferences(await unpack(`prob-${run.run}`), width),
    mask: await unpack(`mask-${run.run}`),
  }));
  window.sideBySide = new SideBySide(tiles, await Promise.all(unpacked));
  byId("side-by-side").hidden = false;
  if (hidden.size) window.sideBySide.hide(hidden);
}

drawTable();
drawLegend();
drawCurves();
if (page.tiles) {
  showTiles(page.tiles)
    .then(() => (byId("loading").hidden = true))
    .catch((error) => {
      byId("loading").textContent = `The test tiles cannot be shown: ${error.message}`;
      throw error;
    })
    .finally(() => (document.body.dataset.ready = "true"));
} else {
  document.body.dataset.ready = "true";
}
