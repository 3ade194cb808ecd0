/**
 * Boxes in pixels of the image that will be made, moved and resized on its cells. Pure functions.
 * @typedef {import("./boxes.js").Box} Box
 * @typedef {{width: number, height: number, cell: number}} Canvas  in pixels; `cell` is the side of an image token
 * @typedef {{left?: boolean, top?: boolean, right?: boolean, bottom?: boolean}} Edges
 */

/** Pixels, rounded to a thousandth as the server does, so that a fraction made of whole pixels is whole again. */
export function toPx([x1, y1, x2, y2], { width, height }) {
  return [x1 * width, y1 * height, x2 * width, y2 * height].map((value) => Math.round(value * 1000) / 1000);
}

/** @returns {Box} */
export function fromPx([x1, y1, x2, y2], { width, height }) {
  return [x1 / width, y1 / height, x2 / width, y2 / height];
}

/** The cells a box reaches into, [column0, row0, column1, row1], upper ends exclusive: what the model really uses. */
export function boxCells(box, canvas) {
  const [x1, y1, x2, y2] = toPx(box, canvas);
  const { width, height, cell } = canvas;
  return [
    Math.max(0, Math.floor(x1 / cell)),
    Math.max(0, Math.floor(y1 / cell)),
    Math.min(Math.floor(width / cell), Math.ceil(x2 / cell)),
    Math.min(Math.floor(height / cell), Math.ceil(y2 / cell)),
  ];
}

/** The box shifted by pixels, its top left corner on the nearest multiple of `step`, all of it on the canvas. */
export function movedBox(box, dx, dy, canvas, step) {
  const [x1, y1, x2, y2] = toPx(box, canvas);
  const [wide, high] = [x2 - x1, y2 - y1];
  const x = within(snapped(x1 + dx, step), 0, canvas.width - wide);
  const y = within(snapped(y1 + dy, step), 0, canvas.height - high);
  return fromPx([x, y, x + wide, y + high], canvas);
}

/** The box with some edges shifted by pixels onto multiples of `step`; never smaller than a cell, never turned over. */
export function resizedBox(box, edges, dx, dy, canvas, step) {
  const [x1, y1, x2, y2] = toPx(box, canvas);
  const { width, height, cell } = canvas;
  const left = edges.left ? within(snapped(x1 + dx, step), 0, x2 - cell) : x1;
  const top = edges.top ? within(snapped(y1 + dy, step), 0, y2 - cell) : y1;
  const right = edges.right ? within(snapped(x2 + dx, step), x1 + cell, width) : x2;
  const bottom = edges.bottom ? within(snapped(y2 + dy, step), y1 + cell, height) : y2;
  return fromPx([left, top, right, bottom], canvas);
}

/** The box between two points in pixels, grown to multiples of `step` and to a cell at least, within the canvas. */
export function drawnBox(from, to, canvas, step) {
  const [x1, x2] = span(from.x, to.x, canvas.width, canvas.cell, step);
  const [y1, y2] = span(from.y, to.y, canvas.height, canvas.cell, step);
  return fromPx([x1, y1, x2, y2], canvas);
}

/** Cells that two boxes have in common. */
export function sharedCells(one, other, canvas) {
  const [a, b] = [boxCells(one, canvas), boxCells(other, canvas)];
  const columns = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const rows = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  return Math.max(0, columns) * Math.max(0, rows);
}

function span(one, other, size, least, step) {
  const low = within(Math.floor(Math.min(one, other) / step) * step, 0, size - least);
  const high = within(Math.ceil(Math.max(one, other) / step) * step, low + least, size);
  return [low, high];
}

function snapped(value, step) {
  return Math.round(value / step) * step;
}

function within(value, low, high) {
  return Math.max(low, Math.min(value, high));
}
