/** The widget of Face Layout: the boxes' text as its value, drawn and edited. */

import { parseBoxes, writeBoxes } from "./boxes.js";
import { Editor } from "./editor.js";
import { backdropOf, canvasSize, placedPeople } from "./graph.js";
import { listenToKeys } from "./keyboard.js";
import { Images } from "./images.js";
import { listenToPointer } from "./pointer.js";
import { remarks } from "./remarks.js";
import { Stage } from "./stage.js";
import { statusText } from "./status.js";
import { toolbar } from "./toolbar.js";

const [LEAST_WIDTH, LEAST_HEIGHT] = [320, 340];
const shown = new Set();

/** The size of a new node, with room for a square canvas. A saved one brings its own. */
export const FIRST_SIZE = [420, 600];

/** Redraws all layouts: a run has returned more about people and images. */
export function refreshLayouts() {
  shown.forEach((layout) => layout.refresh());
}

/**
 * @param {object} node  the LiteGraph node
 * @param {string} name  of the input
 * @param {{default: string, cell_px: number, smallest_cells: number, places: object}} options  as the server describes the input
 * @param {object} app  ComfyUI's
 */
export function addFaceLayout(node, name, options, app) {
  const layout = new FaceLayout(node, options, app);
  const widget = node.addDOMWidget(name, "withanyone_boxes", layout.element, {
    getValue: () => layout.text,
    setValue: (text) => layout.setText(text),
    getMinHeight: () => LEAST_HEIGHT,
    hideOnZoom: false,
  });
  layout.written = () => widget.callback?.(layout.text);
  shown.add(layout);
  const refresh = () => layout.refresh();
  for (const side of node.widgets.filter(({ name }) => name === "width" || name === "height")) {
    follow(side, "callback", refresh);
  }
  follow(node, "onConfigure", refresh);
  follow(node, "onConnectionsChange", refresh);
  follow(node, "onRemoved", () => {
    layout.remove();
    shown.delete(layout);
  });
  return { widget, minWidth: LEAST_WIDTH, minHeight: LEAST_HEIGHT };
}

class FaceLayout {
  #problem = "";
  #came = null; // the boxes as they came in, whose text is kept for when every change is undone
  #seed = 0;
  #drawing = 0;

  constructor(node, options, app) {
    Object.assign(this, { node, options, app, text: "", written: () => {} });
    this.images = new Images(() => this.refresh());
    this.editor = new Editor(() => this.canvas(), (written) => this.#changed(written));
    this.stage = new Stage(() => this.canvas(), () => this.refresh());
    this.toolbar = toolbar(this.editor, (kind, people) => this.#arrange(kind, people));
    this.status = document.createElement("output");
    this.status.className = "withanyone-status";
    this.element = document.createElement("div");
    this.element.className = "withanyone-face-layout";
    this.element.append(this.toolbar.element, this.stage.element, this.status);
    const { giveUp } = listenToPointer(this.stage.surface, this.editor, this.stage);
    listenToKeys(this.stage.surface, this.editor, giveUp);
    this.setText(options.default);
  }

  /** @returns {import("./places.js").Canvas} */
  canvas() {
    const { width, height } = canvasSize(this.app, this.node);
    return { width, height, cell: this.options.cell_px, places: this.options.places?.[`${width}x${height}`] };
  }

  /**
   * Keeps the text as it came until a box is changed: whatever was queued before is queued again. The page hands the
   * widget's own value back to it, which is no change and leaves history and selection alone.
   */
  setText(given) {
    const text = typeof given === "string" ? given : JSON.stringify(given);
    if (text === this.text) {
      return;
    }
    this.text = text;
    const { boxes, problem } = parseBoxes(this.text);
    this.#came = { boxes, problem, text: this.text };
    this.#problem = problem;
    this.editor.load(boxes);
  }

  /** Draws at the next frame, however often it was asked for until then. */
  refresh() {
    this.#drawing ||= requestAnimationFrame(() => {
      this.#drawing = 0;
      this.#draw();
    });
  }

  remove() {
    this.stage.remove();
  }

  #changed(written) {
    if (written) {
      const { boxes } = this.editor;
      const { text, problem } = boxes === this.#came.boxes ? this.#came : { text: writeBoxes(boxes), problem: "" };
      this.text = text;
      this.#problem = problem;
      this.app.canvas?.emitBeforeChange?.(); // so that the workflow counts as changed
      this.written();
      this.app.canvas?.emitAfterChange?.();
    }
    this.refresh();
  }

  #draw() {
    const { boxes, selected } = this.editor;
    const canvas = this.canvas();
    const scene = {
      canvas,
      boxes,
      selected,
      remarks: remarks(boxes, canvas, this.options.smallest_cells),
      ...this.#lastRun(),
    };
    this.stage.draw(scene);
    this.toolbar.update();
    const words = statusText(scene, this.#problem);
    if (this.status.textContent !== words) {
      this.status.textContent = words;
    }
  }

  /** The backdrop, and the people by the number of their box. */
  #lastRun() {
    const backdrop = backdropOf(this.app, this.node);
    const placed = placedPeople(this.app, this.node);
    this.images.keep([backdrop, ...placed.map(({ crop }) => crop)]);
    const people = new Map();
    for (const { name, box, crop } of placed) {
      people.set(box, [...(people.get(box) ?? []), { name, crop: this.images.get(crop) }]);
    }
    return { backdrop: this.images.get(backdrop), people };
  }

  async #arrange(kind, people) {
    const { width, height } = this.canvas();
    const question = new URLSearchParams({ kind, people, width, height, seed: this.#seed });
    const answer = await this.app.api.fetchApi(`/withanyone/places?${question}`);
    const { boxes, error } = await answer.json();
    if (error) {
      this.status.textContent = `⚠ ${error}`;
      return;
    }
    this.#seed += 1;
    this.editor.commit(boxes, -1);
  }
}

/** Calls `then` after a method of this one object, which keeps what it did before. */
function follow(object, method, then) {
  const before = object[method];
  object[method] = function (...values) {
    const result = before?.apply(this, values);
    then();
    return result;
  };
}
