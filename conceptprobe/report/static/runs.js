"use strict";
// What was run: a panel for each model, and the commands that make the report again.
(function () {
  const app = window.conceptprobe;
  const { element, format, isolate } = app;
  const PRINT = 12; // digits of a fingerprint that are shown; the whole one is in the title and is copied

  const print = (fingerprint) =>
    element("code", { class: "print", title: fingerprint, text: fingerprint.slice(0, PRINT) });
  const pairs = (table) =>
    Object.entries(table || {})
      .map(([name, value]) => `${name} ${value}`)
      .join(", ");

  /** @param {ModelData} model */
  function facts(model) {
    const source = app.report.sources[model.source];
    const rows = [
      ["Model", [isolate(model.spec), " ", print(model.fingerprint)]],
      ["Images", [isolate(source.spec), " ", print(source.fingerprint), `, on ${source.background}`]],
      [
        "Counts",
        Object.entries(model.counts)
          .map(([name, count]) => `${format.count(count)} ${name}`)
          .join(", "),
      ],
      ["Layers", isolate(model.layers.map((layer) => layer.name).join(", "))],
      [
        "Pooling",
        `${model.poolings.join(", ")}${model.poolings.length > 1 ? `; verdicts and numbers here are of ${model.pooling}` : ""}`,
      ],
      ["Lists", `the top ${model.k} images of each feature${model.bottom ? `, the bottom ${model.bottom}` : ""}`],
    ];
    if (model.scores) {
      const { k, q, draws, seed, looks, scorer, concepts } = model.scores;
      const named = concepts
        ? `, ${format.count(concepts.count)} concepts, ${format.count(concepts.leaves)} of them leaves`
        : "";
      rows.push(["Scores", `first ${k} images, q ≤ ${q}, ${format.count(draws)} random lists, seed ${seed}${named}`]);
      rows.push(["Looks", looks]);
      if (scorer) rows.push(["Scorer", isolate(scorer)]);
    }
    if (model.names)
      rows.push([
        "Names",
        [
          isolate(model.names.scorer || "concepts only"),
          `, tested on ${format.plural(model.names.test_images, "held-out image")}`,
        ],
      ]);
    rows.push(["Written", model.written], ["Versions", pairs(model.versions)]);
    return element(
      "dl",
      { class: "facts" },
      rows.flatMap(([term, value]) => [element("dt", { text: term }), element("dd", {}, value)]),
    );
  }

  app.fillRuns = function () {
    app
      .byId("runs")
      .append(
        ...app.report.models.map((model, m) =>
          app.paintModel(
            element("article", { class: "run panel" }, element("h3", {}, isolate(model.label)), facts(model)),
            m,
          ),
        ),
      );
    const commands = app.report.commands.join("\n");
    app.byId("commands").append(
      element(
        "div",
        { class: "title-line" },
        element("h3", { text: "Reproduce this report" }),
        app.copyButton(commands, "Copy the commands"),
      ),
      element("pre", { tabindex: "0", role: "region", "aria-label": "Commands" }, element("code", { text: commands })),
      element("p", {
        class: "aside",
        text: `${app.report.date ? `The last result was made ${app.report.date}. ` : ""}Written by conceptprobe ${app.report.conceptprobe}.`,
      }),
    );
  };
})();
