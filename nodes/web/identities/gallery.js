/** Saved people in Load Identity: a face each, chosen with a click, and listed again without a restart. */

const INPUT = "identity_file";
const LEAST_HEIGHT = 120;
const NOBODY = "Nobody is saved yet. Save Identity writes people to files.";
const shown = new Set();

/** Asks the server who is saved now, once for all galleries. */
export async function refreshGalleries(app) {
  if (shown.size) {
    const answer = await app.api.fetchApi("/withanyone/identities");
    const { identities = [] } = await answer.json();
    shown.forEach((gallery) => gallery.list(identities));
  }
}

/**
 * @param {object} node  a Load Identity node
 * @param {object} app  ComfyUI's
 */
export function addGallery(node, app) {
  const combo = node.widgets.find(({ name }) => name === INPUT);
  const gallery = new Gallery(combo, app);
  const options = { serialize: false, hideOnZoom: false, getMinHeight: () => LEAST_HEIGHT };
  const widget = node.addDOMWidget("saved_people", "withanyone_gallery", gallery.element, options);
  widget.serialize = false; // what it shows is the server's, and no part of the workflow
  const { onRemoved, onConfigure } = node;
  node.onRemoved = function (...values) {
    shown.delete(gallery);
    return onRemoved?.apply(this, values);
  };
  node.onConfigure = function (...values) {
    const result = onConfigure?.apply(this, values);
    gallery.mark();
    return result;
  };
  const { callback } = combo;
  combo.callback = function (...values) {
    const result = callback?.apply(this, values);
    gallery.mark();
    return result;
  };
  shown.add(gallery);
  refreshGalleries(app);
}

class Gallery {
  constructor(combo, app) {
    Object.assign(this, { combo, app });
    this.people = document.createElement("div");
    this.people.className = "withanyone-people-list";
    const refresh = document.createElement("button");
    refresh.type = "button";
    refresh.textContent = "Refresh";
    refresh.title = "Looks again for saved identities";
    refresh.addEventListener("click", () => refreshGalleries(app));
    this.element = document.createElement("div");
    this.element.className = "withanyone-gallery";
    this.element.append(refresh, this.people);
    // A node is dragged by its body; this is no part of it.
    this.element.addEventListener("pointerdown", (event) => event.stopPropagation());
    this.element.addEventListener("wheel", (event) => event.stopPropagation());
  }

  /** @param {{name: string, changed: string}[]} identities */
  list(identities) {
    const names = identities.map(({ name }) => name);
    this.combo.options.values = names;
    if (!this.combo.value && names.length) {
      this.choose(names[0]);
    }
    this.people.replaceChildren(...identities.map((identity) => this.entry(identity)));
    if (!names.length) {
      this.people.textContent = NOBODY;
    }
    this.mark();
  }

  entry({ name, changed }) {
    const image = document.createElement("img");
    const question = new URLSearchParams({ name, changed });
    Object.assign(image, { src: this.app.api.apiURL(`/withanyone/identities/crop?${question}`), alt: "" });
    image.loading = "lazy";
    const words = document.createElement("span");
    words.textContent = shortName(name);
    const button = document.createElement("button");
    button.type = "button";
    button.title = name;
    button.dataset.name = name;
    button.append(image, words);
    button.addEventListener("click", () => this.choose(name));
    return button;
  }

  choose(name) {
    this.combo.value = name;
    this.combo.callback?.(name);
  }

  /** Shows which of them is chosen. */
  mark() {
    for (const button of this.people.querySelectorAll("button")) {
      button.setAttribute("aria-pressed", String(button.dataset.name === this.combo.value));
    }
  }
}

/** Without the number, the ending and the folder's mark, which the tooltip shows: `family/ann_00002_`: `ann 2`. */
function shortName(name) {
  const stem = name.replace(/ \[(input|output)\]$/, "").replace(/\.(safetensors|sft)$/, "").split("/").at(-1);
  return stem.replace(/_0*(\d+)_$/, (_, number) => (number === "1" ? "" : ` ${number}`));
}
