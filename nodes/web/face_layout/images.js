/** Images by their address, fetched once. */

export class Images {
  #images = new Map();

  /** @param {() => void} arrived  called when an image can be drawn */
  constructor(arrived) {
    this.arrived = arrived;
  }

  /** The image, or null until it has arrived (or where it is gone from the server). */
  get(address) {
    if (!address) {
      return null;
    }
    const image = this.#images.get(address) ?? this.#fetch(address);
    return image.complete && image.naturalWidth ? image : null;
  }

  /** Forgets all but these. */
  keep(addresses) {
    for (const address of this.#images.keys()) {
      if (!addresses.includes(address)) {
        this.#images.delete(address);
      }
    }
  }

  #fetch(address) {
    const image = new Image();
    image.addEventListener("load", this.arrived);
    image.src = address;
    this.#images.set(address, image);
    return image;
  }
}
