/** The colours of boxes, the same as in the server's previews (withanyone_core/regions/preview.py). */

const GOLDEN_ANGLE = 0.618034;
const [SATURATION, VALUE] = [0.65, 1];

/** [red, green, blue], 0 to 255, of a box by its number from 1. */
export function colourOf(number) {
  const hue = (number * GOLDEN_ANGLE) % 1;
  return [5, 3, 1].map((offset) => {
    const turn = (offset + hue * 6) % 6;
    return Math.round(255 * VALUE * (1 - SATURATION * Math.max(0, Math.min(turn, 4 - turn, 1))));
  });
}

export function css([red, green, blue], alpha = 1) {
  return `rgba(${red}, ${green}, ${blue}, ${alpha})`;
}
