"use strict";
// A table that is sorted by a click on the title of a column, with groups of columns to choose from.

// Returns the order of two cells, undefined or {text, value}; numbers by value, ones without it last.
function compareCells(a, b, descending) {
  const known = (cell) => cell !== undefined && cell.text !== "–" && cell.text !== "";
  if (!known(a) || !known(b)) return known(b) - known(a);
  const numbers = a.value !== undefined && b.value !== undefined;
  const order = numbers
    ? a.value - b.value
    : a.text.localeCompare(b.text, "en", { numeric: true });
  return descending ? -order : order;
}

// columns: [{title, group}], rows: [{name, cells: {title: {text, value, low, high}}}]; header(row)
// returns the element at the start of a row, scaled(column) whether its intervals are drawn.
class SortableTable {
  constructor(table, columns, rows, { header, scaled }) {
    this.table = table;
    this.rows = rows;
    this.header = header;
    this.columns = [{ title: "run", group: "" }, ...columns];
    this.scales = new Map(columns.filter(scaled).map((column) => [column, this.scale(column)]));
    this.groups = new Set();
    this.sorting = { column: null, descending: false };
  }

  // Returns the least and greatest end of a column's intervals, and 0 between them.
  scale({ title }) {
    const cells = this.rows.map((row) => row.cells[title]).filter((cell) => cell?.low !== undefined);
    return [Math.min(0, ...cells.map(({ low }) => low)), Math.max(0, ...cells.map(({ high }) => high))];
  }

  showGroup(group, shown) {
    if (shown) this.groups.add(group);
    else this.groups.delete(group);
    this.draw();
  }

  sort(column) {
    const { sorting } = this;
    if (sorting.column !== column) {
      // Of numbers the greatest come first.
      const numbers = this.rows.some(({ cells }) => cells[column.title]?.value !== undefined);
      this.sorting = { column, descending: numbers };
    } else {
      sorting.descending = !sorting.descending;
    }
    this.draw();
  }

  sorted() {
    const { column, descending } = this.sorting;
    if (!column) return this.rows;
    const cell = (row) =>
      column.title === "run" && column.group === "" ? { text: row.name } : row.cells[column.title];
    return [...this.rows].sort((a, b) => compareCells(cell(a), cell(b), descending));
  }

  draw() {
    const shown = this.columns.filter(({ group }) => group === "" || this.groups.has(group));
    const focused = document.activeElement?.dataset.sort;
    const titles = shown.map((column) => {
      const button = element("button", { type: "button", "data-sort": column.title });
      setWords(button, column.title);
      button.addEventListener("click", () => this.sort(column));
      const sorted = column === this.sorting.column;
      const order = sorted ? (this.sorting.descending ? "descending" : "ascending") : "none";
      return element("th", { scope: "col", "aria-sort": order, class: this.isText(column) ? "text" : "" }, [button]);
    });
    const rows = this.sorted().map((row) => {
      const cells = shown.slice(1).map((column) => this.cell(column, row.cells[column.title]));
      const header = element("th", { scope: "row" }, [this.header(row)]);
      return element("tr", { "data-run": row.name, class: row.mean ? "mean" : "" }, [header, ...cells]);
    });
    this.table.tHead.replaceChildren(element("tr", {}, titles));
    this.table.tBodies[0].replaceChildren(...rows);
    if (focused !== undefined) {
      titles.find((title) => title.firstChild.dataset.sort === focused)?.firstChild.focus();
    }
  }

  isText({ title }) {
    return !this.rows.some(({ cells }) => cells[title]?.value !== undefined);
  }

  cell(column, found) {
    if (!found) return element("td", {}, ["–"]);
    const { text, low, high } = found;
    const scale = this.scales.get(column);
    const parts = [text];
    if (low !== undefined && scale) {
      // An interval without width is of one tile, or one group, and says nothing.
      const sure = low < high && (low > 0 || high < 0);
      parts[0] = element(sure ? "b" : "span", {}, [text]);
      parts.push(intervalBar(found, scale));
      parts.push(element("small", {}, [`${signed(low)} to ${signed(high)}`]));
    } else if (low !== undefined) {
      parts.push(element("small", {}, [`${low.toFixed(3)}–${high.toFixed(3)}`]));
    }
    return element("td", { class: this.isText(column) ? "text" : "" }, parts);
  }
}

function signed(value) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
}

// Returns a drawing of an interval, and of 0, on a scale [from, to].
function intervalBar({ value, low, high }, [from, to]) {
  const x = (at) => (4 + (102 * (at - from)) / (to - from || 1)).toFixed(1);
  const part = (name, attributes) => element(name, attributes, [], SVG);
  const parts = [
    part("path", { d: `M${x(0)} 0V12`, class: "zero" }),
    part("path", { d: `M${x(low)} 6H${x(high)}`, class: "bar-line" }),
    part("circle", { cx: x(value), cy: 6, r: 3 }),
  ];
  return element("svg", { viewBox: "0 0 110 12", class: "interval", "aria-hidden": "true" }, parts, SVG);
}
