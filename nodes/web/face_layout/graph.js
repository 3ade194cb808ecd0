/**
 * What the graph and its last run tell of a Face Layout node: the canvas, the backdrop, and who was placed where.
 * Nodes report under keys of their own (nodes/face_layout.py and nodes/layout.py); ComfyUI's page keeps the reports.
 */

const PLACE_FACE = "WithAnyonePlaceFace";
const ALWAYS = 0; // LiteGraph's mode of a node that is neither muted nor bypassed
const SMALLEST_SIDE = 16;
const UNKNOWN_SIDE = 1024;

/** Width and height of the canvas in pixels: the widgets' numbers, or where those are linked, the last run's. */
export function canvasSize(app, node) {
  const [reported] = reportOf(app, node).withanyone_canvas ?? [];
  const side = (name) => {
    const linked = node.inputs?.some((input) => input.name === name && input.link != null);
    const value = linked ? reported?.[name] : node.widgets?.find((widget) => widget.name === name)?.value;
    const pixels = Number(value) || UNKNOWN_SIDE;
    return Math.max(SMALLEST_SIDE, Math.floor(pixels / SMALLEST_SIDE) * SMALLEST_SIDE);
  };
  return { width: side("width"), height: side("height") };
}

/** Address of the backdrop of the last run, or null. */
export function backdropOf(app, node) {
  const [backdrop] = reportOf(app, node).withanyone_backdrop ?? [];
  return backdrop ? addressOf(app, backdrop.image) : null;
}

/**
 * The people whom the Place Face nodes fed by this one placed in their last run.
 * @returns {{name: string, box: number, crop: string}[]}  box from 1; crop is an address
 */
export function placedPeople(app, node) {
  return placeFaceNodes(node)
    .flatMap((place) => reportOf(app, place).withanyone_placed ?? [])
    .map(({ name, box, crop }) => ({ name: String(name), box, crop: addressOf(app, crop) }));
}

/** Place Face nodes that get their layout from the node, through reroutes and the ends of subgraphs too. */
function placeFaceNodes(node) {
  return receivers(node.graph, node.outputs?.[0]?.links).flatMap(({ target, slot }) => {
    if (target.mode !== ALWAYS) {
      return [];
    }
    if (target.comfyClass === PLACE_FACE) {
      return target.inputs[slot]?.name === "layout" ? [target] : [];
    }
    return target.type === "Reroute" ? placeFaceNodes(target) : [];
  });
}

function receivers(graph, linkIds) {
  return [...(linkIds ?? [])].flatMap((id) => {
    const link = graph?.getLink?.(id) ?? graph?.links?.[id];
    if (link && link.target_id === graph.outputNode?.id) {
      return shownAs(graph).flatMap((node) => receivers(node.graph, node.outputs?.[link.target_slot]?.links));
    }
    const target = link && graph.getNodeById(link.target_id);
    if (!target) {
      return [];
    }
    const inner = target.subgraph;
    return inner ? receivers(inner, inner.inputs?.[link.target_slot]?.linkIds) : [{ target, slot: link.target_slot }];
  });
}

/** The nodes that stand for a subgraph, one for each time it is used. */
function shownAs(subgraph) {
  const root = subgraph.rootGraph;
  return [root, ...(root?.subgraphs?.values() ?? [])]
    .flatMap((graph) => graph?.nodes ?? [])
    .filter((node) => node.subgraph === subgraph && node.mode === ALWAYS);
}

/** What a node reported in its last run; nodes in a subgraph are known by that subgraph's id too. */
function reportOf(app, node) {
  const graph = node.graph;
  const inside = graph && graph.rootGraph && graph !== graph.rootGraph;
  return app.nodeOutputs?.[inside ? `${graph.id}:${node.id}` : String(node.id)] ?? {};
}

function addressOf(app, { filename, subfolder, type }) {
  return app.api.apiURL(`/view?${new URLSearchParams({ filename, subfolder, type })}`);
}
