"use strict";
// The overview's example cards, which lead to their layer's page.
(function () {
  const app = window.conceptprobe;
  const page = `layers/${encodeURIComponent(app.examples.file)}.html`;
  const link = (parts) => `${page}#${new URLSearchParams(parts)}`;
  const places = document.querySelectorAll(".examples .cards");
  app.examples.columns.forEach((column, i) => {
    const options = (feature) => ({
      layer: app.examples.layer,
      href: link({ model: column.key, feature: feature.feature }),
      onTag: (tag) => location.assign(link({ filter: tag })),
      matches: null,
    });
    places[i].append(...column.features.map((feature) => app.makeCard(feature, options(feature))));
  });
})();
