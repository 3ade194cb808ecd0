/** Everything the mouse can do to a box, and what only keys do, while the canvas has the focus. */

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/**
 * @param {HTMLElement} surface
 * @param {import("./editor.js").Editor} editor
 * @param {() => void} giveUp  ends a gesture of the mouse without a change
 */
export function listenToKeys(surface, editor, giveUp) {
  surface.addEventListener("keydown", (event) => {
    const action = actionOf(event, editor, giveUp);
    if (action) {
      event.preventDefault(); // neither the browser's scrolling and bookmarks
      event.stopPropagation(); // nor ComfyUI's deleting and moving of nodes
      action();
    }
  });
}

function actionOf(event, editor, giveUp) {
  const command = event.ctrlKey || event.metaKey;
  if (event.altKey) {
    return null;
  }
  return command ? commandOf(event, editor) : keyOf(event, editor, giveUp);
}

function commandOf({ key, shiftKey }, editor) {
  const redo = () => editor.redo();
  const commands = {
    z: shiftKey ? redo : () => editor.undo(),
    y: redo,
    d: () => editor.duplicate(),
  };
  return commands[key.toLowerCase()];
}

function keyOf({ key, shiftKey }, editor, giveUp) {
  if (key in ARROWS) {
    return () => (shiftKey ? editor.resize(...ARROWS[key]) : editor.move(...ARROWS[key]));
  }
  const keys = {
    Delete: () => editor.remove(),
    Backspace: () => editor.remove(),
    Escape: () => giveUp(),
    PageDown: () => editor.selectNext(1),
    PageUp: () => editor.selectNext(-1),
  };
  return keys[key];
}
