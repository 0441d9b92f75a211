"use strict";
// Pairs of features of two models that fire on the same images: which are shown, in which order, and how.
(function () {
  const app = window.conceptprobe;
  const { element, format } = app;
  app.pairs = /** @type {Pairs} */ ({});
  const { pairs } = app;

  // What one can look at in both features; those that the report has.
  pairs.SCORES = ["llr", "abstraction", "effective_leaves", "firing_rate", "max", "auc", "clarity", "monosemanticity"];

  // Matched pairs of a matches file: {a, b, r, q}; a is of the first model.
  pairs.read = function (table) {
    const [feature, other, r, q, side, matched] = ["feature", "other", "r", "q", "side", "matched"].map((name) =>
      app.decode(table[name]),
    );
    const found = [];
    for (let i = 0; i < feature.length; i++) {
      if (side[i] === 0 && matched[i]) found.push({ a: feature[i], b: other[i], r: r[i], q: q[i] });
    }
    return found;
  };

  // Of every layer of both sides: features, and how many of them are matched.
  pairs.counts = function (catalogue, table) {
    const [feature, matched] = ["feature", "matched"].map((name) => app.decode(table[name]));
    const counts = new Map();
    feature.forEach((g, i) => {
      const layer = catalogue.layer(g);
      const entry = counts.get(layer) || { model: layer.model, place: layer.name, of: 0, count: 0 };
      entry.of += 1;
      entry.count += matched[i];
      counts.set(layer, entry);
    });
    return [...counts.values()];
  };

  pairs.sameNumber = (catalogue, pair) => catalogue.id(pair.a) === catalogue.id(pair.b);
  const differ = (catalogue, pair, of) => of(catalogue, pair.a) !== of(catalogue, pair.b);
  const verdict = (catalogue, g) => catalogue.verdict(g);
  const concept = (catalogue, g) => catalogue.concept(g);

  // state: layer, sort, score, verdicts, concepts, numbers
  pairs.choose = function (catalogue, all, state) {
    const chosen = all.filter(
      (pair) =>
        (!state.layer || catalogue.layer(pair.a).name === state.layer) &&
        (!state.verdicts || differ(catalogue, pair, verdict)) &&
        (!state.concepts || differ(catalogue, pair, concept)) &&
        (!state.numbers || !pairs.sameNumber(catalogue, pair)),
    );
    const value = (g, name) => catalogue.number(name, g) || 0;
    const orders = {
      r: (pair) => -pair.r,
      low: (pair) => pair.r,
      evidence: (pair) => -Math.min(value(pair.a, "llr"), value(pair.b, "llr")),
      change: (pair) => -Math.abs(value(pair.a, state.score) - value(pair.b, state.score)),
    };
    const keys = new Map(chosen.map((pair) => [pair, orders[state.sort](pair)]));
    chosen.sort((one, two) => keys.get(one) - keys.get(two) || one.a - two.a);
    return state.sort === "evidence" ? eachOnce(catalogue, chosen) : chosen;
  };

  /**
   * The first pair of each concept before the second of any: many features say the same.
   * @param {Catalogue} catalogue
   * @param {Pair[]} sorted
   */
  function eachOnce(catalogue, sorted) {
    const seen = new Map();
    const turn = new Map();
    for (const pair of sorted) {
      const concepts = `${catalogue.number("concept", 3 * pair.a)} ${catalogue.number("concept", 3 * pair.b)}`;
      turn.set(pair, seen.get(concepts) || 0);
      seen.set(concepts, turn.get(pair) + 1);
    }
    const rank = { none: 2, other: 1 };
    const group = (pair) => rank[pairs.agreement(catalogue, pair)] || 0;
    return sorted.sort((one, two) => group(one) - group(two) || turn.get(one) - turn.get(two));
  }

  // A verdict that both have, "other" where at least one verdict is found and they differ, else "none".
  pairs.agreement = function (catalogue, pair) {
    const [a, b] = [catalogue.verdict(pair.a), catalogue.verdict(pair.b)];
    if (!app.POSITIVE.includes(a) && !app.POSITIVE.includes(b)) return "none";
    return a === b ? a : "other";
  };

  pairs.COLOURS = {
    ...Object.fromEntries(app.POSITIVE.map((name) => [name, `var(--verdict-${name})`])),
    other: "var(--mark)",
    none: "var(--control)",
  };

  pairs.legend = () =>
    element(
      "p",
      { class: "legend agreement" },
      app.POSITIVE.map((name) => element("span", { "data-verdict": name, text: `both ${name}` })),
      element("span", { "data-agreement": "other", text: "verdicts differ" }),
      element("span", { "data-agreement": "none", text: "no verdict in either" }),
    );

  // r and what is said of it, between two features.
  pairs.link = (catalogue, pair) =>
    element(
      "div",
      { class: "link" },
      element("b", { text: format.number(pair.r, 2) }),
      element("span", { text: "r" }),
      element("small", { text: pairs.sameNumber(catalogue, pair) ? "same number" : "another number" }),
    );

  // A pair as a row: feature, r, feature. show(pair) puts it into the chart.
  pairs.makeRow = function (catalogue, pair, show) {
    const button = element("button", {
      type: "button",
      class: "small",
      text: "In the chart",
      onclick: () => show(pair),
    });
    button.setAttribute("aria-label", `Show ${catalogue.id(pair.a)} and ${catalogue.id(pair.b)} in the chart`);
    const middle = pairs.link(catalogue, pair);
    middle.append(button);
    return element(
      "li",
      { class: "pair panel" },
      app.featureLine(catalogue, pair.a),
      middle,
      app.featureLine(catalogue, pair.b),
    );
  };
})();
