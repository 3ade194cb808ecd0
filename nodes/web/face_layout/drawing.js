/** The image on the stage: canvas, backdrop, boxes, and the people in them. */

import { colourOf, css } from "./colours.js";
import { boxCells } from "./geometry.js";
import { cellCounts } from "./remarks.js";
import { onStage } from "./view.js";

const [CANVAS, GRID, FRAME, WARNING, DARK] = ["#34363a", "#3e4045", "#777", "#ffc83d", "#202124"];
const FONT = "sans-serif";
const CLOSEST_LINES = 8; // pixels: a denser grid would only grey the canvas

/**
 * @typedef {object} Scene
 * @property {{width: number, height: number}} stage
 * @property {import("./view.js").View} view
 * @property {import("./geometry.js").Canvas} canvas
 * @property {import("./boxes.js").Box[]} boxes
 * @property {number} selected  index of a box
 * @property {string[][]} remarks  what is wrong with each box
 * @property {HTMLImageElement | null} backdrop
 * @property {Map<number, {name: string, crop: HTMLImageElement | null}[]>} people  by the number of their box, from 1
 */

/** @param {CanvasRenderingContext2D} context  @param {Scene} scene */
export function draw(context, scene) {
  context.clearRect(0, 0, scene.stage.width, scene.stage.height);
  drawCanvas(context, scene);
  const last = scene.selected; // on top of the others
  const order = [...scene.boxes.keys()].sort((a, b) => (a === last) - (b === last));
  for (const index of order) {
    drawBox(context, scene, index);
  }
}

function drawCanvas(context, { view, canvas, backdrop }) {
  const [x1, y1, x2, y2] = onStage([0, 0, 1, 1], canvas, view);
  context.fillStyle = CANVAS;
  context.fillRect(x1, y1, x2 - x1, y2 - y1);
  if (backdrop) {
    context.drawImage(backdrop, x1, y1, x2 - x1, y2 - y1);
  } else {
    drawGrid(context, [x1, y1, x2, y2], canvas.cell * view.scale);
  }
  context.strokeStyle = FRAME;
  context.lineWidth = 1;
  context.strokeRect(x1 - 0.5, y1 - 0.5, x2 - x1 + 1, y2 - y1 + 1);
}

/** Every cell, or where those are too small to tell apart every second, fourth and so on. */
function drawGrid(context, [x1, y1, x2, y2], cell) {
  const step = cell * 2 ** Math.max(0, Math.ceil(Math.log2(CLOSEST_LINES / cell)));
  context.fillStyle = GRID;
  for (let x = x1 + step; x < x2; x += step) {
    context.fillRect(Math.round(x), y1, 1, y2 - y1);
  }
  for (let y = y1 + step; y < y2; y += step) {
    context.fillRect(x1, Math.round(y), x2 - x1, 1);
  }
}

function drawBox(context, scene, index) {
  const { boxes, canvas, view, selected, remarks } = scene;
  const colour = colourOf(index + 1);
  const place = onStage(boxes[index], canvas, view);
  fillCells(context, scene, index, css(colour, 0.35));
  drawPeople(context, place, scene.people.get(index + 1) ?? []);
  context.strokeStyle = css(colour);
  context.lineWidth = index === selected ? 3 : 2;
  const [x1, y1, x2, y2] = place;
  context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  drawNumber(context, place, index + 1, css(colour));
  if (remarks[index].length) {
    drawWarning(context, place);
  }
  if (index === selected) {
    drawHandles(context, place, css(colour));
    drawCount(context, place, cellCounts(boxes[index], canvas));
  }
}

/** The whole cells a box covers, which is what the model sees of it. */
function fillCells(context, { boxes, canvas, view }, index, colour) {
  const [column0, row0, column1, row1] = boxCells(boxes[index], canvas);
  const step = canvas.cell * view.scale;
  context.fillStyle = colour;
  if (column1 > column0 && row1 > row0) {
    const [x, y] = [view.left + column0 * step, view.top + row0 * step];
    context.fillRect(x, y, (column1 - column0) * step, (row1 - row0) * step);
  }
}

/** Crops side by side in the middle, the names below them. */
function drawPeople(context, [x1, y1, x2, y2], people) {
  if (!people.length) {
    return;
  }
  const [wide, high] = [x2 - x1, y2 - y1];
  const side = Math.min((0.8 * wide) / people.length, 0.55 * high);
  const [left, top] = [(x1 + x2 - side * people.length) / 2, (y1 + y2) / 2 - 0.6 * side];
  people.forEach(({ crop }, index) => crop && drawCrop(context, crop, left + index * side, top, side));
  const size = Math.max(9, Math.min(14, high / 7));
  const names = people.map(({ name }) => name).join(", ");
  drawText(context, names, (x1 + x2) / 2, Math.min(top + side + size, y2 - size / 2 - 2), size, wide - 4);
}

function drawCrop(context, crop, x, y, side) {
  context.save();
  context.beginPath();
  context.roundRect(x, y, side, side, side / 8);
  context.clip();
  context.drawImage(crop, x, y, side, side);
  context.restore();
}

/** White with a dark rim, centred, and cut where it is wider than the room. Never read as markup. */
function drawText(context, text, x, y, size, room) {
  context.font = `${size}px ${FONT}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  const shown = shortened(context, text, room);
  context.strokeStyle = DARK;
  context.lineWidth = 3;
  context.lineJoin = "round";
  context.strokeText(shown, x, y);
  context.fillStyle = "white";
  context.fillText(shown, x, y);
}

function shortened(context, text, room) {
  if (context.measureText(text).width <= room) {
    return text;
  }
  const letters = [...text];
  while (letters.length && context.measureText(`${letters.join("")}…`).width > room) {
    letters.pop();
  }
  return `${letters.join("")}…`;
}

function drawNumber(context, [x1, y1], number, colour) {
  const text = String(number);
  const [wide, high] = [10 + 7 * text.length, 17];
  context.fillStyle = colour;
  context.fillRect(x1, y1, wide, high);
  context.fillStyle = DARK;
  context.font = `bold 12px ${FONT}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText(text, x1 + wide / 2, y1 + high / 2 + 0.5);
}

/** A triangle with an exclamation mark in the upper right corner, beside a box that has no room for it. */
function drawWarning(context, [x1, y1, x2]) {
  const [x, y] = [x2 - x1 < 36 ? x2 + 11 : x2 - 9, y1 + 10];
  context.beginPath();
  context.moveTo(x, y - 8);
  context.lineTo(x + 8, y + 6);
  context.lineTo(x - 8, y + 6);
  context.closePath();
  context.fillStyle = WARNING;
  context.fill();
  context.strokeStyle = DARK;
  context.lineWidth = 1;
  context.stroke();
  context.fillStyle = DARK;
  context.font = `bold 10px ${FONT}`;
  context.textAlign = "center";
  context.textBaseline = "middle";
  context.fillText("!", x, y + 1.5);
}

function drawHandles(context, [x1, y1, x2, y2], colour) {
  const [x, y] = [(x1 + x2) / 2, (y1 + y2) / 2];
  const corners = [[x1, y1], [x2, y1], [x1, y2], [x2, y2]];
  const middles = [[x, y1], [x, y2], [x1, y], [x2, y]];
  context.fillStyle = "white";
  context.strokeStyle = colour;
  context.lineWidth = 1.5;
  for (const [handleX, handleY] of [...corners, ...middles]) {
    context.fillRect(handleX - 3, handleY - 3, 6, 6);
    context.strokeRect(handleX - 3, handleY - 3, 6, 6);
  }
}

/** Columns times rows of cells, in the lower right corner. */
function drawCount(context, [x1, , x2, y2], [columns, rows]) {
  const text = `${columns} x ${rows}`;
  context.font = `11px ${FONT}`;
  if (context.measureText(text).width + 8 <= x2 - x1) {
    drawText(context, text, x2 - context.measureText(text).width / 2 - 6, y2 - 11, 11, Infinity);
  }
}
