/** Adds one of the pack's style sheets to the page; its rules name only the pack's own classes. */
export function addStyle(path) {
  const link = document.createElement("link");
  link.rel = "stylesheet";
  link.href = new URL(path, import.meta.url);
  document.head.append(link);
}
