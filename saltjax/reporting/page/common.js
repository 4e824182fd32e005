"use strict";
// What every page uses: elements, numbers on axes, commands, and buttons that copy the text of an element.

const byId = (id) => document.getElementById(id);

// Returns a new element of HTML, or of SVG if `space` is given, with attributes and children.
function element(name, attributes = {}, children = [], space = null) {
  const node = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

// Returns round numbers from low to high, about `most` of them.
function ticks(low, high, most) {
  const rough = (high - low) / most || 1;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999);
  const first = Math.ceil(low / step - 1e-9);
  const found = [];
  for (let i = first; i * step <= high + step * 1e-6; i++) found.push(i * step);
  return found;
}

// Returns a number with at most four decimals, or in the form 1e-4 if it is small, for a number field.
function fieldNumber(value) {
  if (value && Math.abs(value) < 1e-4) return value.toExponential(1);
  return String(Number(value.toFixed(4)));
}

// Returns a text of a number with a minus sign in place of a hyphen.
const withMinus = (text) => text.replaceAll("-", "−");

const shortNumber = (value) => withMinus(fieldNumber(value));

// Writes a text whose lines end between words, as commands need: a browser would also end them behind
// a hyphen, even within `--`. Copied, it is the same text.
function setWords(node, text) {
  const parts = text.split(/(\s+)/);
  node.replaceChildren(...parts.map((part, i) => (i % 2 ? part : element("span", { class: "word" }, [part]))));
}

// Copies the text of the element that data-copy names, or selects it where that is not allowed.
async function copy(button) {
  const source = byId(button.dataset.copy);
  const label = button.textContent;
  try {
    await navigator.clipboard.writeText(source.textContent);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(source);
    button.textContent = "Selected";
  }
  setTimeout(() => (button.textContent = label), 1500);
}

for (const node of document.querySelectorAll(".words")) setWords(node, node.textContent);
for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy(button));
}
