"use strict";
// The evidence behind a verdict, in words and numbers. docs/concepts.md of conceptprobe has the definitions.
(function () {
  const app = window.conceptprobe;
  const { element, format } = app;

  app.makeEvidence = function (feature) {
    const panel = element(
      "section",
      { class: "panel", "aria-labelledby": "evidence-title" },
      element("h2", { id: "evidence-title", text: "Evidence" }),
    );
    if (feature.scores) {
      panel.append(makeSentences(feature.scores, feature.model), makeTests(feature.scores, feature.model));
      if (feature.curve && feature.curve.length > 1) panel.append(makeCurve(feature.curve));
    } else {
      panel.append(
        element("p", { class: "aside", text: "Without scores there is no verdict: `conceptprobe score` makes them." }),
      );
    }
    panel.append(makeNumbers(feature));
    return panel;
  };

  /**
   * @param {FeatureScore} scores
   * @param {ModelData} model
   */
  function makeSentences(scores, model) {
    const list = element("ul", { class: "prose sentences" });
    const say = (...parts) => list.append(element("li", {}, parts));
    const { concepts, q: rate } = model.scores || {};
    say(element("b", {}, app.isolate(scores.reason || `verdict ${scores.verdict}`)), ".");
    if (!scores.tested) {
      say("It was not tested: dead features, lists that are too short and lists that ties cut are left out.");
      return list;
    }
    const found = rate === undefined || scores.q <= rate;
    if (scores.concept) {
      say(
        `${scores.hits} of its first ${scores.k} images are of `,
        app.conceptLink(scores.concept),
        ` (${scores.kind}), which has ${format.count(scores.size)} images. ` +
          `Of ${concepts ? format.count(concepts.count) : "all"} concepts it explains the list best ` +
          `(log-likelihood ratio ${format.number(scores.llr)}).`,
      );
    }
    say(
      `p is the largest of the tests below: ${format.p(scores.p)}. Over the tested features of the layer that is ` +
        `q ${format.p(scores.q)}, ${found ? "at most" : "above"} the rate of ${format.number(rate ?? 0.05)}.`,
    );
    if (!found) return list;
    say(
      `Its images of the concept spread over ${format.number(scores.effective_leaves)} effective leaves` +
        (scores.least_effective_leaves === null
          ? ""
          : ` (at least ${format.number(scores.least_effective_leaves)} are expected of a feature for the whole concept)`) +
        `; the largest leaf has ${format.share(scores.largest_leaf_share)} of them. Abstraction is ` +
        `${format.number(scores.abstraction)}, from 0 for a leaf to 1 for a concept of most images.`,
    );
    if (scores.second_concept) {
      say(
        `Of the ${scores.second_length} images outside, ${scores.second_hits} are of `,
        app.conceptLink(scores.second_concept),
        `, which is unrelated (p ${format.p(scores.p_second)}).`,
      );
    }
    return list;
  }

  /**
   * @param {FeatureScore} scores
   * @param {ModelData} model
   */
  function makeTests(scores, model) {
    const rows = [
      ["Random lists", "all images equally likely", scores.p_random],
      ["Hub-weighted lists", "images that many features list are likelier", scores.p_hub],
      [
        "Look-alikes",
        scores.p_visual === null ? "only features that pass the other tests take this one" : "images that look alike",
        scores.p_visual,
      ],
    ];
    const body = rows.map(([name, null_, p]) => {
      const decides = p !== null && p === scores.p;
      return element(
        "tr",
        { class: decides ? "decides" : null },
        element("th", { scope: "row", text: name }),
        element("td", { class: "muted", text: null_ }),
        element("td", { class: "number", text: format.p(p) }),
      );
    });
    const note = model.scores ? `${format.count(model.scores.draws)} lists each.` : "";
    return element(
      "div",
      {},
      table("Null distributions", ["Null distribution", "", "p"], body),
      note && element("p", { class: "aside", text: `${note} The largest p counts.` }),
    );
  }

  /** @param {any[][]} curve */
  function makeCurve(curve) {
    const rows = curve.map(([k, concept, hits, llr, , q, verdict]) => {
      const cells = [
        element("td", { class: "number", text: String(k) }),
        element("td", {}, app.verdictBadge(verdict)),
        element("td", {}, concept === null ? "–" : app.isolate(concept)),
      ];
      return element(
        "tr",
        {},
        cells,
        element("td", { class: "number", text: `${hits}/${k}` }),
        element("td", { class: "number", text: format.number(llr) }),
        element("td", { class: "number", text: format.p(q) }),
      );
    });
    return element(
      "details",
      { class: "more" },
      element("summary", { text: "With shorter and longer lists" }),
      element("p", { class: "aside", text: "Against random lists alone; the verdict above is made with all tests." }),
      table("With shorter and longer lists", ["k", "Verdict", "Concept", "Hits", "LLR", "q"], rows, [0, 3, 4, 5]),
    );
  }

  /** @param {Feature} feature */
  function makeNumbers({ stats, scores, model }) {
    const list = element("dl", { class: "facts" });
    const add = (name, value, title) =>
      list.append(element("div", { title }, element("dt", { text: name }), element("dd", { text: value })));
    add("fires", format.share(stats.firing_rate), "share of the images with an activation above zero");
    add("largest", format.number(stats.max), "activation, in units of the layer");
    add("mean", format.number(stats.mean), "over all images");
    add("deviation", format.number(stats.std), "standard deviation over all images");
    if (Number.isFinite(stats.high_rate))
      add("high", format.share(stats.high_rate), "share of the images above the 95 % quantile of the whole layer");
    for (const name of ["clarity", "monosemanticity", "redundancy"]) {
      if (scores && scores[name] !== null && scores[name] !== undefined)
        add(name, format.number(scores[name]), `in the space of ${model.scores?.scorer}; no verdict depends on it`);
    }
    if (stats.nonfinite)
      add("not finite", format.count(stats.nonfinite), "images whose activation is not a number; they are in no list");
    return list;
  }

  // A table that scrolls sideways by itself; `numeric`: the columns of numbers.
  function table(label, columns, rows, numeric = [columns.length - 1]) {
    const head = element(
      "tr",
      {},
      columns.map((text, i) =>
        element(text ? "th" : "td", { scope: text ? "col" : null, class: numeric.includes(i) ? "number" : null, text }),
      ),
    );
    return element(
      "div",
      { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${label}` },
      element("table", { class: "data" }, element("thead", {}, head), element("tbody", {}, rows)),
    );
  }
  app.makeTable = table;
})();
