"use strict";
// The concepts of a feature's first images, and the names that were tested on other images.
(function () {
  const app = window.conceptprobe;
  const { element, format } = app;
  const LONGEST_PATH = 6;

  app.makeConceptTable = function (feature, concepts) {
    if (!feature.table?.length || !concepts) return null;
    const k = feature.tableK;
    const rows = feature.table.map(([number, hits, llr, p, q, enrichment]) => {
      const name = element("td", {}, app.conceptLink(concepts.name[number]), makePath(concepts, number));
      const cells = [`${hits}/${k}`, format.number(llr), format.p(p), format.p(q), `${format.number(enrichment)}×`];
      return element(
        "tr",
        {},
        name,
        cells.map((text) => element("td", { class: "number", text })),
      );
    });
    return element(
      "section",
      { class: "panel", "aria-labelledby": "concepts-title" },
      element("h2", { id: "concepts-title", text: "Concepts" }),
      element("p", {
        class: "aside",
        text:
          `Of its first ${k} images, by log-likelihood ratio. p is hypergeometric and of one concept alone, q over all ` +
          "concepts. They describe: images that many features list, and look-alikes, are held against in the evidence only.",
      }),
      app.makeTable("Concepts", ["Concept", "Hits", "LLR", "p", "q", "Enrichment"], rows, [1, 2, 3, 4, 5]),
    );
  };

  // "symbols › transport-sign": the way up from a concept's first parent.
  function makePath(concepts, number) {
    const path = [];
    const seen = new Set([number]);
    for (
      let at = (concepts.parents[number] || [])[0];
      at !== undefined && !seen.has(at) && path.length < LONGEST_PATH;
      at = (concepts.parents[at] || [])[0]
    ) {
      seen.add(at);
      path.unshift(concepts.name[at]);
    }
    if (!path.length)
      return element("span", { class: "path", text: concepts.kinds[app.decode(concepts.kind)[number]] });
    return element(
      "span",
      { class: "path" },
      path.flatMap((name, i) => [i ? " › " : "", app.isolate(name)]),
    );
  }

  app.makeNames = function (feature) {
    if (!feature.names?.length) return null;
    const rows = feature.names.map(([source, rank, word, , auc, , q, abstained, testedOn, images, reason]) => {
      const name = element(
        "td",
        {},
        word === null ? element("span", { class: "muted", text: reason || "no name" }) : app.isolate(word),
      );
      if (abstained && word !== null)
        name.append(element("span", { class: "path", text: reason || "no better than chance" }));
      return element(
        "tr",
        { class: abstained ? "abstained" : null },
        name,
        element("td", { class: "muted", text: rank > 1 ? `${source}, ${rank}` : source }),
        element("td", { class: "number", text: format.number(auc) }),
        element("td", { class: "number", text: format.p(q) }),
        element("td", {
          class: "number",
          text: images ? `${format.count(images)}${testedOn ? ` (${testedOn})` : ""}` : "–",
        }),
      );
    });
    const about = feature.model.names;
    return element(
      "section",
      { class: "panel", "aria-labelledby": "names-title" },
      element("h2", { id: "names-title", text: "Names" }),
      element("p", {
        class: "aside",
        text:
          "One half of the images chose a name, the other half tested it: AUC is the probability that an image of the " +
          "name activates the feature more than another image (0.5 is chance)." +
          (about?.scorer ? ` Words were scored by ${about.scorer}.` : ""),
      }),
      app.makeTable("Names", ["Name", "By", "AUC", "q", "Tested on"], rows, [2, 3, 4]),
    );
  };
})();
