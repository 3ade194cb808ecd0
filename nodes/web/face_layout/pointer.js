/** Boxes drawn, moved and resized with a mouse, a pen or a finger. */

import { drawnBox, movedBox, resizedBox } from "./geometry.js";
import { NONE } from "./editor.js";
import { nearestPlace } from "./places.js";
import { cursorOf, onCanvas, under } from "./view.js";

const LEAST_DRAG = 4; // pixels of the stage: less is a click

/**
 * @param {HTMLElement} surface  lies over the stage and takes its events
 * @param {import("./editor.js").Editor} editor
 * @param {{size: () => {width: number, height: number}, view: () => import("./view.js").View}} stage
 */
export function listenToPointer(surface, editor, stage) {
  let gesture = null;

  const positionOf = (event) => {
    // The page may show the stage at any zoom; its own pixels are those of its layout.
    const { left, top, width, height } = surface.getBoundingClientRect();
    const { width: own, height: ownHeight } = stage.size();
    return { x: ((event.clientX - left) / width) * own, y: ((event.clientY - top) / height) * ownHeight };
  };

  const hover = (event) => {
    const found = under(positionOf(event), editor.boxes, editor.selected, editor.canvas(), stage.view());
    surface.style.cursor = found && !event.shiftKey ? cursorOf(found.edges) : "crosshair";
  };

  const begin = (event) => {
    if (event.button !== 0) {
      return; // the other buttons are ComfyUI's, to pan and for its menu
    }
    event.stopPropagation();
    surface.setPointerCapture(event.pointerId);
    const point = positionOf(event);
    const { boxes, selected } = editor;
    const found = event.shiftKey ? null : under(point, boxes, selected, editor.canvas(), stage.view());
    gesture = { start: point, boxes, found, dragged: false };
    editor.select(found ? found.index : NONE);
  };

  const drag = (event) => {
    if (!gesture) {
      hover(event);
      return;
    }
    event.stopPropagation();
    const point = positionOf(event);
    gesture.dragged ||= Math.hypot(point.x - gesture.start.x, point.y - gesture.start.y) >= LEAST_DRAG;
    if (gesture.dragged) {
      editor.preview(...outcome(gesture, point, editor.canvas(), stage.view(), event.altKey));
    }
  };

  const end = (event) => {
    if (gesture) {
      event.stopPropagation();
      if (gesture.dragged) {
        editor.commit(editor.boxes, editor.selected);
      }
      gesture = null;
    }
  };

  const giveUp = () => {
    if (gesture) {
      gesture = null;
      editor.cancel();
    }
  };

  // Else the browser selects text of the page on the way, and the next gesture drags that text instead.
  surface.addEventListener("mousedown", (event) => {
    if (event.button === 0) {
      event.preventDefault();
      surface.focus({ preventScroll: true });
    }
  });
  surface.addEventListener("dragstart", (event) => event.preventDefault());
  surface.addEventListener("pointerdown", begin);
  surface.addEventListener("pointermove", drag);
  surface.addEventListener("pointerup", end);
  surface.addEventListener("pointercancel", giveUp);
  return { giveUp };
}

/** The boxes as the gesture leaves them, and which is selected then; `free` of cells and of known places. */
function outcome({ start, boxes, found }, point, canvas, view, free) {
  const step = free ? 1 : canvas.cell;
  const settled = free ? (box) => box : (box) => nearestPlace(box, canvas);
  const [from, to] = [onCanvas(start, view), onCanvas(point, view)];
  if (!found) {
    return [[...boxes, settled(drawnBox(from, to, canvas, step))], boxes.length];
  }
  const [dx, dy] = [to.x - from.x, to.y - from.y];
  const change = Object.values(found.edges).some(Boolean)
    ? (box) => resizedBox(box, found.edges, dx, dy, canvas, step)
    : (box) => movedBox(box, dx, dy, canvas, step);
  return [boxes.map((box, index) => (index === found.index ? settled(change(box)) : box)), found.index];
}
