"use strict";
// How models and verdicts are shown: a colour with a word beside it, a verdict also with a shape.
(function () {
  const app = window.conceptprobe;
  const COLOURS = 6; // as in report.css

  // The verdicts by name, in their order, and the names of those that name a concept, that name a single one, and that
  // tested features have; see Verdict in concepts/scoring/verdicts.py.
  const { verdicts } = app.report;
  const names = (group) => verdicts.filter((verdict) => verdict[group]).map((verdict) => verdict.name);
  app.VERDICTS = Object.fromEntries(verdicts.map((verdict) => [verdict.name, verdict]));
  app.POSITIVE = names("positive");
  app.ONE_CONCEPT = names("one_concept");
  app.TESTED = names("tested");

  // A verdict that has no name here, as of a probe's file, counts as the last one.
  app.verdictBadge = function (verdict) {
    const { name } = app.VERDICTS[verdict] || verdicts.at(-1);
    const badge = app.element("span", {
      class: "verdict",
      "data-verdict": name,
      title: `${name}: ${app.VERDICTS[name].explanation}`,
    });
    badge.append(app.element("span", { class: "shape", "aria-hidden": "true", text: app.VERDICTS[name].glyph }), name);
    return badge;
  };

  // Sets --model on an element and on all that is in it.
  app.paintModel = (node, model) => {
    node.dataset.model = String(app.report.models[model].colour % COLOURS);
    return node;
  };

  app.modelLabel = function (model, className = "") {
    const label = app.element("span", { class: `model ${className}` });
    label.append(
      app.element("span", { class: "dot", "aria-hidden": "true" }),
      app.isolate(app.report.models[model].label),
    );
    return app.paintModel(label, model);
  };
})();
