"use strict";
// Features that fire on the same images: neighbours in the layer, matches in the other models.
(function () {
  const app = window.conceptprobe;
  const { element, format } = app;
  const TILES = 6;

  app.makeNeighbours = function (feature, catalogue) {
    if (!feature.neighbours?.length) return null;
    const rows = feature.neighbours.map(([index, r]) => makeRow(catalogue, feature.layer.start + index, r));
    return makePanel("neighbours", "Neighbours in this layer", "Correlation of the activations over all images.", rows);
  };

  app.makeMatches = function (feature, catalogue) {
    if (!feature.matches?.length) return null;
    const rows = feature.matches
      .filter(([g]) => g >= 0)
      .map(([g, r, q, mutual, matched]) => makeRow(catalogue, g, r, `${sayMatch(mutual, matched)} (q ${format.p(q)})`));
    if (!rows.length) return null;
    return makePanel(
      "matches",
      "Closest in the other model",
      "The feature whose activations over the same images correlate best. q is against mixtures of the other model's features.",
      rows,
    );
  };

  function sayMatch(mutual, matched) {
    if (matched) return "matched: each is the other's best";
    return mutual ? "each is the other's best, not significant" : "the other has a better one";
  }

  function makePanel(id, title, words, rows) {
    return element(
      "section",
      { class: "panel", "aria-labelledby": `${id}-title` },
      element("h2", { id: `${id}-title`, text: title }),
      element("p", { class: "aside", text: words }),
      element("ul", { class: "relatives" }, rows),
    );
  }

  /**
   * @param {Catalogue} catalogue
   * @param {number} g
   */
  function makeRow(catalogue, g, r, note = "") {
    const name = catalogue.name(g);
    const key = catalogue.key(g);
    const tiles = element(
      "span",
      { class: "row-tiles", "aria-hidden": "true" },
      catalogue
        .top(g)
        .slice(0, TILES)
        .map((n) => app.makeTile(catalogue.images, n)),
    );
    const link = element("a", { href: app.featureHref(key) }, app.isolate(catalogue.id(g)));
    const text = element(
      "span",
      { class: "row-text" },
      link,
      element(
        "span",
        { class: "row-line" },
        app.verdictBadge(catalogue.verdict(g)),
        name && app.isolate(name.text, "clip"),
      ),
    );
    if (note) text.append(element("span", { class: "path", text: note }));
    return app.paintModel(
      element(
        "li",
        {},
        element("span", { class: "dot", "aria-hidden": "true" }),
        text,
        tiles,
        element("b", { class: "number", text: format.number(r, 2), title: "correlation" }),
      ),
      catalogue.layer(g).model,
    );
  }
})();
