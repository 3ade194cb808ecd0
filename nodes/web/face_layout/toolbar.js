/** The row of buttons over the canvas. */

const MOST_PEOPLE = 99;

/**
 * @param {import("./editor.js").Editor} editor
 * @param {(kind: "preset" | "row", people: number) => void} arrange  asks for places for so many people
 */
export function toolbar(editor, arrange) {
  const people = document.createElement("input");
  Object.assign(people, { type: "number", min: 1, max: MOST_PEOPLE, value: 2, className: "withanyone-people" });
  describe(people, "People for Preset and Row");
  people.addEventListener("keydown", (event) => event.stopPropagation());
  const count = () => Math.max(1, Math.min(MOST_PEOPLE, Math.round(people.valueAsNumber) || 1));

  const preset = button("Preset", "One of the released layouts; press again for another", () => {
    arrange("preset", count());
  });
  const row = button("Row", "An even row", () => arrange("row", count()));
  const duplicate = button("Duplicate", "Ctrl+D", () => editor.duplicate());
  const remove = button("Delete", "Delete key", () => editor.remove());
  const undo = button("Undo", "Ctrl+Z", () => editor.undo());
  const redo = button("Redo", "Ctrl+Shift+Z or Ctrl+Y", () => editor.redo());

  const element = document.createElement("div");
  element.className = "withanyone-toolbar";
  element.append(people, preset, row, duplicate, remove, undo, redo);
  // A node is dragged by its body; these are no part of it.
  element.addEventListener("pointerdown", (event) => event.stopPropagation());

  const update = () => {
    duplicate.disabled = remove.disabled = !editor.selectedBox;
    undo.disabled = !editor.canUndo;
    redo.disabled = !editor.canRedo;
  };
  return { element, update };
}

function button(text, explanation, press) {
  const element = document.createElement("button");
  element.type = "button";
  element.textContent = text;
  describe(element, explanation);
  element.addEventListener("click", press);
  return element;
}

function describe(element, words) {
  element.title = words;
  if (!element.textContent) {
    element.setAttribute("aria-label", words);
  }
}
