"use strict";
// The two sliders, with a number field each, for the threshold and the minimum component size.

class Choice {
  // chosen: {threshold, minArea}, which the sliders begin at; most: the greatest size; changed is called
  // after each change but that of `reset`.
  constructor(chosen, most, changed) {
    this.chosen = chosen;
    this.sliders = [byId("threshold"), byId("min-size")];
    this.fields = [byId("threshold-field"), byId("min-size-field")];
    for (const input of [this.sliders[1], this.fields[1]]) input.max = most;
    byId("run-threshold").setAttribute("cx", `${100 * chosen.threshold}%`);
    byId("run-min-size").setAttribute("cx", `${(100 * chosen.minArea) / most}%`);
    for (const [i, slider] of this.sliders.entries()) {
      const field = this.fields[i];
      slider.addEventListener("input", changed);
      field.addEventListener("change", () => {
        if (field.value !== "") slider.value = field.value;
        changed();
      });
    }
  }

  get threshold() {
    // A slider keeps fewer digits than a threshold has.
    const value = Number(this.sliders[0].value);
    return Math.abs(value - this.chosen.threshold) < 1e-9 ? this.chosen.threshold : value;
  }

  get minSize() {
    return Number(this.sliders[1].value);
  }

  // Whether the sliders are where they began.
  get isChosen() {
    return this.threshold === this.chosen.threshold && this.minSize === this.chosen.minArea;
  }

  // The flags that use the choice in a command.
  get flags() {
    return ` --threshold=${this.threshold} --min_area=${this.minSize}`;
  }

  reset() {
    this.sliders[0].value = this.chosen.threshold;
    this.sliders[1].value = this.chosen.minArea;
  }

  // Writes the values into the number fields, and switches the button #reset.
  show() {
    this.fields[0].value = fieldNumber(this.threshold);
    this.fields[1].value = this.minSize;
    byId("reset").disabled = this.isChosen;
  }
}
