/**
 * Boxes as the workflow keeps them: a JSON list of [x1, y1, x2, y2] in fractions of the canvas, in full precision.
 * @typedef {[number, number, number, number]} Box
 */

/**
 * The boxes of a widget's text, or why it holds none. Where a box may lie is for the server to judge: here
 * every four finite numbers are shown, so that a box gone astray can be seen and deleted.
 * @param {string} text
 * @returns {{boxes: Box[], problem: string}} no boxes with a problem, no problem (an empty string) with boxes
 */
export function parseBoxes(text) {
  let given;
  try {
    given = JSON.parse(text);
  } catch (error) {
    return refused(`The boxes are not JSON: ${error.message}`);
  }
  if (!Array.isArray(given)) {
    return refused("The boxes are no list");
  }
  const fault = given.findIndex((box) => !isFour(box));
  return fault < 0 ? { boxes: given, problem: "" } : refused(`Box ${fault + 1} is not four numbers`);
}

/** The text that `parseBoxes`, here and on the server, gives bitwise identical boxes back for. */
export function writeBoxes(boxes) {
  return JSON.stringify(boxes);
}

function isFour(box) {
  return Array.isArray(box) && box.length === 4 && box.every(Number.isFinite);
}

function refused(words) {
  return { boxes: [], problem: `${words}. Expected [[x1, y1, x2, y2], ...] in fractions of the canvas.` };
}
