/** The boxes being edited: which is selected, what was done, and what a gesture in progress would make of them. */

import { fromPx, movedBox, resizedBox, toPx } from "./geometry.js";
import { nearestPlace, nextPlace } from "./places.js";
import { begun, recorded, redone, undone } from "./history.js";

export const NONE = -1;

export class Editor {
  #history = begun([]);
  #draft = null;

  /**
   * @param {() => import("./geometry.js").Canvas} canvas
   * @param {(written: boolean) => void} changed  called after every change; `written` where the boxes are new ones
   */
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.selected = NONE;
  }

  /** With those of the gesture in progress, if there is one. */
  get boxes() {
    return this.#draft ?? this.#history.present;
  }

  get selectedBox() {
    return this.boxes[this.selected];
  }

  get canUndo() {
    return this.#history.past.length > 0;
  }

  get canRedo() {
    return this.#history.future.length > 0;
  }

  /** Boxes from outside, with a history of their own. */
  load(boxes) {
    this.#history = begun(boxes);
    this.#draft = null;
    this.#show(NONE, false);
  }

  select(index) {
    this.#show(index, false);
  }

  /** The next box, or the one before (-1), around the end. */
  selectNext(direction = 1) {
    const count = this.boxes.length;
    if (count) {
      const first = direction > 0 ? 0 : count - 1;
      this.select(this.selected === NONE ? first : (this.selected + direction + count) % count);
    }
  }

  /** Shows boxes that are not decided on yet. */
  preview(boxes, selected) {
    this.#draft = boxes;
    this.#show(selected, false);
  }

  cancel() {
    this.#draft = null;
    this.#show(this.selectedBox ? this.selected : NONE, false);
  }

  /** Makes these the boxes, as one step of the history. */
  commit(boxes, selected) {
    const same = JSON.stringify(boxes) === JSON.stringify(this.#history.present);
    this.#draft = null;
    if (!same) {
      this.#history = recorded(this.#history, boxes);
    }
    this.#show(selected, !same);
  }

  add(box) {
    this.commit([...this.boxes, box], this.boxes.length);
  }

  remove() {
    if (this.selectedBox) {
      const kept = this.boxes.filter((_, index) => index !== this.selected);
      this.commit(kept, Math.min(this.selected, kept.length - 1));
    }
  }

  /**
   * A copy of the selected box, a cell further to the right and down where there is room, else to the left and up; in
   * the nearest free place where the canvas has known ones.
   */
  duplicate() {
    if (this.selectedBox) {
      const canvas = this.canvas();
      const [x1, y1, x2, y2] = toPx(this.selectedBox, canvas);
      const dx = x2 + canvas.cell <= canvas.width ? canvas.cell : -Math.min(canvas.cell, x1);
      const dy = y2 + canvas.cell <= canvas.height ? canvas.cell : -Math.min(canvas.cell, y1);
      this.add(nearestPlace(fromPx([x1 + dx, y1 + dy, x2 + dx, y2 + dy], canvas), canvas, this.boxes));
    }
  }

  /** Moves the selected box by whole cells, or to the next place where the canvas has known ones. */
  move(columns, rows) {
    const canvas = this.canvas();
    if (canvas.places?.length) {
      this.#replace((box) => nextPlace(box, columns, rows, canvas));
      return;
    }
    this.#replace((box) => movedBox(box, columns * canvas.cell, rows * canvas.cell, canvas, canvas.cell));
  }

  /** Moves the selected box's right and lower edges by whole cells. */
  resize(columns, rows) {
    const canvas = this.canvas();
    const edges = { right: columns !== 0, bottom: rows !== 0 };
    const resized = (box) => resizedBox(box, edges, columns * canvas.cell, rows * canvas.cell, canvas, canvas.cell);
    this.#replace((box) => nearestPlace(resized(box), canvas));
  }

  undo() {
    this.#travel(undone(this.#history));
  }

  redo() {
    this.#travel(redone(this.#history));
  }

  #replace(change) {
    if (this.selectedBox) {
      const boxes = this.boxes.map((box, index) => (index === this.selected ? change(box) : box));
      this.commit(boxes, this.selected);
    }
  }

  #travel(history) {
    if (history !== this.#history) {
      this.#history = history;
      this.#draft = null;
      this.#show(Math.min(this.selected, history.present.length - 1), true);
    }
  }

  #show(selected, written) {
    this.selected = selected;
    this.changed(written);
  }
}
