"use strict";
// How models and verdicts are shown: a colour with a word beside it, a verdict also with a shape.
(function () {
  const app = window.conceptprobe;
  const COLOURS = 6; // as in report.css

  app.VERDICTS = {
    object: { shape: "■", words: "its top images share one object: a class, or a part of one" },
    conceptual: { shape: "◆", words: "its top images share a broader concept, spread over its objects" },
    polysemantic: { shape: "◐", words: "its top images share a concept, and the others share another, unrelated one" },
    unresolved: { shape: "○", words: "none of the other verdicts can be said; the reason is given" },
    dead: { shape: "×", words: "its activation hardly varies between images" },
    untested: { shape: "·", words: "it has no verdict, or its list could not be tested" },
  };

  app.verdictBadge = function (verdict) {
    const name = verdict in app.VERDICTS ? verdict : "untested";
    const badge = app.element("span", {
      class: "verdict",
      "data-verdict": name,
      title: `${name}: ${app.VERDICTS[name].words}`,
    });
    badge.append(app.element("span", { class: "shape", "aria-hidden": "true", text: app.VERDICTS[name].shape }), name);
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
