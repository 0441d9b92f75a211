"use strict";
// A feature in one line: its address, verdict, concept and first images. For lists and tables of many features.
(function () {
  const app = window.conceptprobe;
  const { element, isolate } = app;

  app.featureLink = function (catalogue, g, short) {
    const layer = catalogue.layer(g);
    const text = short
      ? `${layer.name}:${g - layer.start}`
      : `${app.report.models[layer.model].label} ${catalogue.id(g)}`;
    return app.paintModel(
      element(
        "a",
        { class: "feature-link", href: app.featureHref(catalogue.key(g)) },
        element("span", { class: "dot", "aria-hidden": "true" }),
        isolate(text, "mono"),
      ),
      layer.model,
    );
  };

  // The first images of a feature as one picture to screen readers, or words where it has none.
  app.imageStrip = function (catalogue, g, count = 4) {
    const top = catalogue.top(g).slice(0, count);
    if (!top.length) return element("p", { class: "strip none", text: "no image" });
    return app.imageRow(catalogue.images, top, "Top images");
  };

  app.imageRow = function (images, numbers, what) {
    const labels = [...new Set(numbers.map((n) => images.label(n)).filter((label) => label !== null))];
    const strip = element("div", {
      class: "strip",
      role: "img",
      "aria-label": `${what}: ${labels.join(", ") || "without labels"}`,
    });
    for (const n of numbers) {
      const tile = app.makeTile(images, n);
      tile.title = images.label(n) || "";
      strip.append(tile);
    }
    return strip;
  };

  // Link, verdict and concept above, images below.
  app.featureLine = function (catalogue, g, { count = 4, extra = null, verdict = catalogue.verdict(g) } = {}) {
    const concept = catalogue.concept(g);
    return element(
      "div",
      { class: "line" },
      element("div", { class: "line-head" }, app.featureLink(catalogue, g, true), app.verdictBadge(verdict), extra),
      element(
        "div",
        { class: "line-concept" },
        concept === null ? element("span", { class: "none", text: "no concept" }) : app.conceptLink(concept, "clip"),
      ),
      app.imageStrip(catalogue, g, count),
    );
  };
})();
