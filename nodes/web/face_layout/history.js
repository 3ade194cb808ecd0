/**
 * Undo and redo: what was, what is, and what was undone. Pure functions on plain values.
 * @template Value
 * @typedef {{past: Value[], present: Value, future: Value[]}} History
 */

const LONGEST = 200;

export function begun(present) {
  return { past: [], present, future: [] };
}

/** The history with a new present; what had been undone is gone. */
export function recorded({ past, present }, next) {
  return { past: [...past, present].slice(-LONGEST), present: next, future: [] };
}

/** One step back, or the same history where there is none. */
export function undone(history) {
  const { past, present, future } = history;
  return past.length ? { past: past.slice(0, -1), present: past.at(-1), future: [present, ...future] } : history;
}

/** One step forward again, or the same history where nothing was undone. */
export function redone(history) {
  const { past, present, future } = history;
  return future.length ? { past: [...past, present], present: future[0], future: future.slice(1) } : history;
}
