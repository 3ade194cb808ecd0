/** What the pack adds to ComfyUI's page. */

import { app } from "../../scripts/app.js";
import { addFaceLayout, FIRST_SIZE, refreshLayouts } from "./face_layout/widget.js";
import { addGallery, refreshGalleries } from "./identities/gallery.js";
import { addStyle } from "./style.js";

app.registerExtension({
  name: "WithAnyone",

  init() {
    addStyle("./face_layout/style.css");
    addStyle("./identities/style.css");
  },

  getCustomWidgets() {
    return { WITHANYONE_BOXES: (node, name, [, options]) => addFaceLayout(node, name, options, app) };
  },

  nodeCreated(node) {
    if (node.comfyClass === "WithAnyoneFaceLayout") {
      node.setSize(FIRST_SIZE);
    } else if (node.comfyClass === "WithAnyoneLoadIdentity") {
      addGallery(node, app);
    }
  },

  setup() {
    // a microtask later the page itself has kept what the node reported
    app.api.addEventListener("executed", () => queueMicrotask(refreshLayouts));
    app.api.addEventListener("execution_success", () => refreshGalleries(app));
  },

  afterConfigureGraph() {
    refreshLayouts();
  },

  /** ComfyUI's own "refresh node definitions", the R key. */
  refreshComboInNodes() {
    return refreshGalleries(app);
  },
});
