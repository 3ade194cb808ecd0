/**
 * Places of a canvas whose model knows no others (see PLACES in withanyone_core/regions/presets.py): there a box goes from one
 * to another and stands nowhere between. Pure functions; a canvas without such places leaves every box as it is.
 * @typedef {import("./boxes.js").Box} Box
 * @typedef {import("./geometry.js").Canvas & {places?: Box[]}} Canvas
 */

const EPSILON = 1e-6;

/** The place whose middle is nearest to the box's; of those that are not taken, if any is free. */
export function nearestPlace(box, { places = [] }, taken = []) {
  const free = places.filter((place) => !taken.some((other) => sameBox(place, other)));
  return first(free.length ? free : places, (place) => distance(middle(box), middle(place))) ?? box;
}

/** The next place in a direction (columns to the right, rows down), straight ahead rather than aside; else the box. */
export function nextPlace(box, columns, rows, { places = [] }) {
  const [x, y] = middle(box);
  const along = ([left, top]) => (left - x) * columns + (top - y) * rows;
  const aside = ([left, top]) => Math.abs((left - x) * rows) + Math.abs((top - y) * columns);
  const further = places.filter((place) => along(middle(place)) > EPSILON);
  return first(further, (place) => along(middle(place)) + 2 * aside(middle(place))) ?? box;
}

/** Whether the canvas knows the box's place: always where it has no places of its own. */
export function isKnown(box, { places = [] }) {
  return !places.length || places.some((place) => sameBox(place, box));
}

function first(places, measure) {
  return [...places].sort((one, other) => measure(one) - measure(other))[0];
}

function middle([x1, y1, x2, y2]) {
  return [(x1 + x2) / 2, (y1 + y2) / 2];
}

function distance([x, y], [otherX, otherY]) {
  return Math.hypot(x - otherX, y - otherY);
}

function sameBox(one, other) {
  return one.every((edge, index) => Math.abs(edge - other[index]) < EPSILON);
}
