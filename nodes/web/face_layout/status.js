/** The line below the canvas: what is selected, how many cells it has, and what is wrong. */

import { boxCells } from "./geometry.js";
import { cellCounts } from "./remarks.js";

/**
 * @param {import("./drawing.js").Scene} scene
 * @param {string} problem  why the boxes cannot be read; empty if they can
 */
export function statusText(scene, problem) {
  if (problem) {
    return `⚠ ${problem} Draw, or choose Preset or Row, to start over.`;
  }
  return scene.boxes[scene.selected] ? boxText(scene) : allText(scene);
}

function boxText({ boxes, selected, canvas, people, remarks }) {
  const [columns, rows] = cellCounts(boxes[selected], canvas);
  const [column, row] = boxCells(boxes[selected], canvas);
  const names = (people.get(selected + 1) ?? []).map(({ name }) => name);
  const facts = [`Box ${selected + 1} of ${boxes.length}`, ...names, `${columns} x ${rows} cells at ${column}, ${row}`];
  return [facts.join(" · "), ...remarks[selected].map((remark) => `⚠ ${remark}`)].join("\n");
}

function allText({ boxes, canvas, remarks }) {
  const size = `${canvas.width} x ${canvas.height} pixels`;
  if (!boxes.length) {
    return `${size} · no box: drag to draw one`;
  }
  const marked = remarks.flatMap((found, index) => (found.length ? [index + 1] : []));
  const count = boxes.length === 1 ? "1 box" : `${boxes.length} boxes`;
  return `${size} · ${count}${marked.length ? `\n⚠ check ${marked.join(", ")}` : ""}`;
}
