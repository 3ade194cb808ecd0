/**
 * Where the canvas lies on the stage, the part of the page that shows it, and what lies under a point.
 * @typedef {{left: number, top: number, scale: number}} View  of the canvas's corner, and stage pixels to a canvas pixel
 */

import { toPx } from "./geometry.js";

const MARGIN = 7; // around the canvas, so that handles at its edge can be grasped
const REACH = 7; // how far from an edge it is still grasped

/** The largest view of the canvas on a stage, centred. */
export function fitted(stage, canvas) {
  const room = { width: Math.max(1, stage.width - 2 * MARGIN), height: Math.max(1, stage.height - 2 * MARGIN) };
  const scale = Math.min(room.width / canvas.width, room.height / canvas.height);
  return { left: (stage.width - canvas.width * scale) / 2, top: (stage.height - canvas.height * scale) / 2, scale };
}

/** [x1, y1, x2, y2] of a box on the stage. */
export function onStage(box, canvas, view) {
  const [x1, y1, x2, y2] = toPx(box, canvas).map((value) => value * view.scale);
  return [view.left + x1, view.top + y1, view.left + x2, view.top + y2];
}

/** A point of the stage in pixels of the canvas. */
export function onCanvas({ x, y }, view) {
  return { x: (x - view.left) / view.scale, y: (y - view.top) / view.scale };
}

/**
 * What lies under a point of the stage: a box, and which of its edges (none in its middle). The selected box comes
 * first, then the smallest, so that a box inside another can be reached.
 * @returns {{index: number, edges: import("./geometry.js").Edges} | null}
 */
export function under(point, boxes, selected, canvas, view) {
  const found = boxes
    .map((box, index) => ({ index, place: onStage(box, canvas, view) }))
    .filter(({ place }) => touches(point, place))
    .sort((a, b) => (b.index === selected) - (a.index === selected) || area(a.place) - area(b.place));
  return found.length ? { index: found[0].index, edges: edgesAt(point, found[0].place) } : null;
}

/** The mouse cursor that says what dragging these edges does. */
export function cursorOf(edges) {
  const vertical = edges.top ? "n" : edges.bottom ? "s" : "";
  const horizontal = edges.left ? "w" : edges.right ? "e" : "";
  return vertical || horizontal ? `${vertical}${horizontal}-resize` : "move";
}

function touches({ x, y }, [x1, y1, x2, y2]) {
  return x >= x1 - REACH && x <= x2 + REACH && y >= y1 - REACH && y <= y2 + REACH;
}

/** Of a small box the edges reach less far inwards, so that a middle to move it by remains. */
function edgesAt({ x, y }, [x1, y1, x2, y2]) {
  const [inX, inY] = [Math.min(REACH, (x2 - x1) / 4), Math.min(REACH, (y2 - y1) / 4)];
  const [left, top, right, bottom] = [x <= x1 + inX, y <= y1 + inY, x >= x2 - inX, y >= y2 - inY];
  return { left, top, right: right && !left, bottom: bottom && !top };
}

function area([x1, y1, x2, y2]) {
  return (x2 - x1) * (y2 - y1);
}
