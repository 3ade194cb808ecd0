/** What is wrong with boxes, as text. */

import { boxCells, sharedCells, toPx } from "./geometry.js";
import { isKnown } from "./places.js";

/**
 * @param {import("./boxes.js").Box[]} boxes
 * @param {import("./places.js").Canvas} canvas
 * @param {number} smallest  cells on a side below which both eyes can fall into one cell (see nodes/face_layout.py)
 * @returns {string[][]} for each box, none where it is fine
 */
export function remarks(boxes, canvas, smallest) {
  return boxes.map((box, index) => {
    const outside = outsideText(box, canvas);
    const inside = [smallText(box, canvas, smallest), unknownText(box, canvas)];
    return outside ? [outside] : [...inside.flat(), ...overlapsText(boxes, index, canvas)];
  });
}

/** Columns and rows of the cells a box covers. */
export function cellCounts(box, canvas) {
  const [column0, row0, column1, row1] = boxCells(box, canvas);
  return [Math.max(0, column1 - column0), Math.max(0, row1 - row0)];
}

function outsideText(box, canvas) {
  const [x1, y1, x2, y2] = toPx(box, canvas);
  if (x2 <= x1 || y2 <= y1) {
    return "has no area and cannot be queued";
  }
  if (x1 >= canvas.width || y1 >= canvas.height || x2 <= 0 || y2 <= 0) {
    return "lies outside the canvas and cannot be queued: move or delete it";
  }
  return x1 < 0 || y1 < 0 || x2 > canvas.width || y2 > canvas.height ? "reaches over the edge and is cut there" : "";
}

function smallText(box, canvas, smallest) {
  const [columns, rows] = cellCounts(box, canvas);
  const small = columns < smallest || rows < smallest;
  return small ? [`under ${smallest} x ${smallest} cells both eyes can fall into one`] : [];
}

function unknownText(box, canvas) {
  return isKnown(box, canvas) ? [] : ["the model of this canvas does not know this place; Preset gives those it knows"];
}

function overlapsText(boxes, index, canvas) {
  return boxes.flatMap((other, number) => {
    const shared = number === index ? 0 : sharedCells(boxes[index], other, canvas);
    return shared ? [`shares ${shared} ${shared === 1 ? "cell" : "cells"} with box ${number + 1}`] : [];
  });
}
