/** The part of the page the boxes are drawn on: an image, and over it what takes the mouse and the keys. */

import { draw } from "./drawing.js";
import { fitted } from "./view.js";

export class Stage {
  #canvas = document.createElement("canvas");
  #context = this.#canvas.getContext("2d");

  /** @param {() => import("./geometry.js").Canvas} canvas  @param {() => void} resized */
  constructor(canvas, resized) {
    this.canvas = canvas;
    this.surface = surface();
    this.element = document.createElement("div");
    this.element.className = "withanyone-stage";
    this.element.append(this.#canvas, this.surface);
    this.observer = new ResizeObserver(resized);
    this.observer.observe(this.element);
  }

  /** In pixels of the page's layout, whatever zoom it is shown at. */
  size() {
    return { width: this.element.clientWidth || 1, height: this.element.clientHeight || 1 };
  }

  view() {
    return fitted(this.size(), this.canvas());
  }

  /** @param {Omit<import("./drawing.js").Scene, "stage" | "view">} scene */
  draw(scene) {
    const stage = this.size();
    this.element.style.aspectRatio = `${scene.canvas.width} / ${scene.canvas.height}`;
    const density = Math.max(1, window.devicePixelRatio || 1);
    this.#canvas.width = Math.round(stage.width * density);
    this.#canvas.height = Math.round(stage.height * density);
    this.#context.setTransform(density, 0, 0, density, 0, 0);
    draw(this.#context, { ...scene, stage, view: this.view() });
  }

  remove() {
    this.observer.disconnect();
  }
}

/**
 * An <input>, since ComfyUI leaves Ctrl+Z to whatever element of that kind has the focus; any other element would have
 * it undo a step of the whole graph as well. Read only: no keyboard opens on a phone.
 */
function surface() {
  const element = document.createElement("input");
  element.readOnly = true;
  element.autocomplete = "off";
  element.className = "withanyone-surface";
  element.setAttribute("role", "application");
  element.setAttribute("aria-label", "Boxes for faces: Page Down selects, arrows move, Shift and arrows resize");
  return element;
}
