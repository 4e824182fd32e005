"use strict";
// What every page uses: elements, and buttons that copy the text of an element.

const byId = (id) => document.getElementById(id);

// Returns a new element of HTML, or of SVG if `space` is given, with attributes and children.
function element(name, attributes = {}, children = [], space = null) {
  const node = space ? document.createElementNS(space, name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
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

for (const button of document.querySelectorAll("[data-copy]")) {
  button.addEventListener("click", () => copy(button));
}
