"use strict";
// Probes as cards: what each asks, and its first metric in the middle of its first curve.
(function () {
  const app = window.conceptprobe;
  const { element, format, isolate, charts } = app;

  app.probeHref = (key) => `probes.html#${encodeURIComponent(key)}`;

  // A model that was probed: { label, colour }; it need not be one of the report's.
  app.probedLabel = function (model, className = "") {
    const label = element(
      "span",
      { class: `model ${className}` },
      element("span", { class: "dot", "aria-hidden": "true" }),
      isolate(model.label),
    );
    label.dataset.model = String(model.colour % 6);
    return label;
  };

  const between = (low, high) =>
    low === null || high === null ? "" : ` [${format.number(low)}, ${format.number(high)}]`;

  // "correct, random, share of patches dropped 0.9"
  app.pointWords = (point) =>
    `${point.metric}, ${point.series}${point.points > 1 && point.x !== null ? `, ${point.axis} ${format.number(point.x)}` : ""}`;

  app.makeHeadline = function (headline, models) {
    const clean = new Map(headline.clean.map(([model, value]) => [model, value]));
    const values = headline.values.map(([model, value, low, high]) =>
      element(
        "li",
        {},
        app.probedLabel(models[model]),
        element(
          "span",
          { class: "value" },
          element("b", { text: format.number(value) }),
          element("span", { class: "of", text: between(low, high) }),
          clean.has(model) && element("span", { class: "of", text: ` clean ${format.number(clean.get(model))}` }),
        ),
      ),
    );
    const differences = headline.differences.map(([first, second, value, low, high]) =>
      element(
        "p",
        { class: "aside" },
        "Paired difference",
        headline.differences.length > 1 && [" ", isolate(models[first].label), " − ", isolate(models[second].label)],
        `: ${format.number(value)}${between(low, high)}`,
      ),
    );
    return element(
      "div",
      { class: "headline" },
      element("p", { class: "point" }, isolate(app.pointWords(headline))),
      element("ul", {}, values),
      differences.slice(0, 3),
    );
  };

  /**
   * The first curve without axes, for the eye: the numbers stand beside it.
   * @param {Headline} headline
   * @param {ProbeSummary["models"]} models
   */
  function makeSpark(headline, models) {
    if (headline.points < 2) return null;
    const place = element("div", { class: "spark", "aria-hidden": "true" });
    const rows = headline.line.map(([model, x, value]) => ({
      model,
      x,
      value,
      colour: charts.hue(models[model].colour),
    }));
    const known = rows.filter((row) => Number.isFinite(row.value));
    const order = [...new Set(rows.map((row) => row.x))];
    const rules = headline.clean.map(([model, value]) => ({ value, colour: charts.hue(models[model].colour) }));
    const picture = Plot.plot({
      width: 360,
      height: 84,
      margin: 6,
      axis: null,
      x: { domain: order, type: "point" },
      y: { zero: d3.min(known, (row) => row.value) >= 0 },
      marks: [
        Plot.ruleY(rules, { y: "value", stroke: "colour", strokeDasharray: "3 4", strokeOpacity: 0.7 }),
        Plot.line(known, { x: "x", y: "value", z: "model", stroke: "colour", strokeWidth: 2 }),
        Plot.dot(
          known.filter((row) => row.x === headline.x),
          { x: "x", y: "value", r: 3.5, fill: "colour" },
        ),
      ],
    });
    for (const style of picture.querySelectorAll("style")) style.remove();
    place.append(picture);
    return place;
  }

  // The cards of all probes of the report. heading: the tag of their titles.
  app.makeProbeCards = function (heading) {
    const cards = app.report.probes.map((probe) =>
      element(
        "li",
        { class: "probe-card panel" },
        element("p", { class: "eyebrow" }, isolate(probe.label)),
        element(heading, {}, element("a", { href: app.probeHref(probe.key) }, isolate(probe.question))),
        probe.headline && makeSpark(probe.headline, probe.models),
        probe.headline
          ? app.makeHeadline(probe.headline, probe.models)
          : element("p", { class: "aside", text: "No curves." }),
        element(
          "p",
          { class: "aside foot-line" },
          `${format.plural(probe.images, "image")} of `,
          isolate(probe.source),
        ),
      ),
    );
    return element("ul", { class: "probe-cards" }, cards);
  };
})();
