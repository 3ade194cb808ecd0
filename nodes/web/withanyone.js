/** What the pack adds to ComfyUI's page. */

import { app } from "../../scripts/app.js";
import { addFaceLayout, FIRST_SIZE, refreshLayouts } from "./face_layout/widget.js";
import { addStyle } from "./style.js";

app.registerExtension({
  name: "WithAnyone",

  init() {
    addStyle("./face_layout/style.css");
  },

  getCustomWidgets() {
    return { WITHANYONE_BOXES: (node, name, [, options]) => addFaceLayout(node, name, options, app) };
  },

  nodeCreated(node) {
    if (node.comfyClass === "WithAnyoneFaceLayout") {
      node.setSize(FIRST_SIZE);
    }
  },

  setup() {
    // a microtask later the page itself has kept what the node reported
    app.api.addEventListener("executed", () => queueMicrotask(refreshLayouts));
  },

  afterConfigureGraph() {
    refreshLayouts();
  },
});
