"use strict";
// The overview: models at a glance, the contrast in words, a chart for each question, examples, layers.
(async function () {
  const app = window.conceptprobe;
  const { element, format, isolate, charts, measures } = app;
  const { report } = app;
  const EXAMPLES = 6; // of each kind and model
  const TWO_WAY = "Lines are 95 % intervals for other images of the same kind and other features of the same kinds.";
  const WILSON =
    "Lines are 95 % intervals as if features were independent; features that fire on the same images are not, so they are too short.";

  const explorer = (values) => `explorer.html${app.writeHash("", new Map(Object.entries(values)))}`;
  const sum = (values) => values.reduce((total, value) => total + value, 0);

  function fillLead() {
    if (!report.models.length) {
      app
        .byId("lead")
        .append(
          `${format.plural(report.probes.length, "probe")} of how models behave. There is no index in this report, and so nothing of their features but what survives.`,
        );
      return;
    }
    const names = measures.layerNames();
    const sources = [...new Set(report.sources.map((source) => source.spec))];
    app
      .byId("lead")
      .append(
        `${format.plural(report.models.length, "model")}, ${format.plural(names.length, "layer")}, ${format.plural(report.counts.features, "feature")}; `,
        "for each, the images of ",
        ...sources.flatMap((spec, i) => [i ? " and " : "", isolate(spec)]),
        " that activate it most.",
      );
    const missing = report.missing.reasons;
    if (!missing.length) return;
    app.byId("missing").hidden = false;
    app.byId("missing").append(
      element("h2", { text: "Some images are shown as a placeholder" }),
      element(
        "ul",
        {},
        missing.map((reason) => element("li", {}, isolate(reason))),
      ),
    );
  }

  /**
   * A model: what it is, and how many features have each verdict.
   * @param {ModelData} model
   * @param {number} m
   */
  function makeGlance(model, m) {
    const scored = model.layers.filter((layer) => layer.verdicts);
    const tested = sum(scored.map((layer) => layer.tested));
    const dead = sum(model.layers.map((layer) => layer.dead));
    const width = sum(model.layers.map((layer) => layer.width));
    const count = (verdict) => sum(scored.map((layer) => layer.verdicts?.[verdict] ?? 0));
    const said = scored.length ? `, ${format.count(tested)} tested` : "";
    const panel = element(
      "article",
      { class: "glance panel" },
      element("h2", {}, app.modelLabel(m)),
      element("p", {
        class: "aside",
        text: `${format.plural(width, "feature")} in ${format.plural(model.layers.length, "layer")}${said}, ${format.count(dead)} dead`,
      }),
    );
    if (scored.length) {
      const tiles = app.TESTED.map((verdict) =>
        element(
          "a",
          { class: "figure", href: explorer({ model: model.key, verdict }), "data-verdict": verdict },
          element("b", { text: format.count(count(verdict)) }),
          app.verdictBadge(verdict),
          element("span", { class: "of", text: tested ? charts.percent(count(verdict) / tested) : "–" }),
        ),
      );
      panel.append(
        element("div", { class: "figures" }, tiles),
        makeBar(app.TESTED.map((verdict) => [verdict, count(verdict)])),
      );
    }
    return app.paintModel(panel, m);
  }

  // Shares as a bar, for the eye: the numbers stand above it.
  function makeBar(parts) {
    const bar = element("div", { class: "shares", "aria-hidden": "true" });
    for (const [verdict, count] of parts.filter(([, count]) => count)) {
      const part = element("span", { "data-verdict": verdict });
      part.style.flexGrow = String(count);
      bar.append(part);
    }
    return bar;
  }

  // Lines of Contrast.summary: indented ones belong to the line above them.
  function makeWords(lines) {
    const parts = [];
    for (const line of lines.filter((own) => own.trim() && !own.startsWith("Mind: "))) {
      if (!line.startsWith("  ")) parts.push({ text: line, items: [] });
      else if (parts.length) parts[parts.length - 1].items.push(line.trim());
    }
    const say = (text) => {
      const colon = text.indexOf(": ");
      const signed = text.replace(/(^|[ (])-(?=\d)/g, "$1−");
      return colon < 0
        ? [isolate(signed)]
        : [element("strong", {}, isolate(signed.slice(0, colon))), isolate(signed.slice(colon))];
    };
    return parts.map(({ text, items }) => {
      if (!items.length) return element("p", {}, say(text));
      const list = element(
        "ul",
        {},
        items.map((item) => element("li", {}, say(item))),
      );
      if (text === "by layer:") return element("details", {}, element("summary", { text: "Layer by layer" }), list);
      return element("div", {}, element("p", { class: "said" }, isolate(text)), list);
    });
  }

  function fillContrasts(contrasts) {
    const section = app.byId("contrasts");
    section.hidden = !contrasts.length;
    for (const contrast of contrasts) {
      const parts = makeWords(contrast.words);
      const lists = parts.findLastIndex((part) => part.tagName !== "P") + 1;
      const mind = contrast.caveats.map((text) =>
        element("p", { class: "mind" }, element("strong", { text: "Mind: " }), isolate(text), "."),
      );
      const words = element("div", { class: "words panel" }, parts.slice(0, lists), mind);
      const others = [...new Set(contrast.differences.map((row) => row.model_b))].filter(
        (b) => b >= 0 && contrast.models[0] >= 0,
      );
      const link = element(
        "p",
        {},
        element("a", { href: "compare.html", text: "Matched features and concepts side by side" }),
      );
      section.append(
        element(
          "div",
          { class: "contrast" },
          words,
          element(
            "div",
            { class: "stack" },
            others.flatMap((b) => [makeDifferences(contrast, b), makeDepth(contrast, b)]),
          ),
        ),
        element("div", { class: "words more panel" }, parts.slice(lists), link),
      );
    }
  }

  /** @param {ContrastData} contrast */
  function makeDifferences(contrast, other) {
    const [a, b] = [contrast.models[0], other];
    const names = [a, b].map((m) => report.models[m].label);
    const rows = measures.differences(contrast, other, app.POSITIVE);
    const places = ["all", ...contrast.place_names];
    const clear = rows.filter((row) => row.clear && row.value !== 0);
    return charts.make({
      title: `Where does ${charts.cut(names[0], 30)} differ from ${charts.cut(names[1], 30)}?`,
      note: "Difference in the share of tested features, in percentage points, with its 95 % interval. Right of zero: more in the first. Filled: the interval leaves out zero.",
      label: `Differences between ${names.join(" and ")} by layer and verdict. ${clear.length} of ${rows.length} intervals leave out zero. The numbers are in the table below.`,
      legend: charts.legend([a, b]),
      draw: charts.differences(rows, {
        places,
        models: [a, b],
        facets: app.POSITIVE,
        words: named,
        tickFormat: (value) => format.number(100 * value, 2),
      }),
      table: {
        columns: ["place", "measure", names[0], names[1], "difference", "95 % low", "95 % high", "p", "q"],
        rows: measures
          .differences(contrast, other, app.TESTED)
          .map((row) => [
            row.place === "all" ? "all layers" : row.place,
            row.measure,
            row.a,
            row.b,
            row.value,
            row.low,
            row.high,
            row.p,
            row.q,
          ]),
      },
    });
  }

  /** @param {ContrastData} contrast */
  function makeDepth(contrast, other) {
    const [a] = contrast.models;
    const rows = measures.differences(contrast, other, ["abstraction"]);
    const names = [a, other].map((m) => report.models[m].label);
    return charts.make({
      title: "Which is more abstract?",
      note: `Difference in the mean abstraction of object and conceptual features. Right of zero: higher in ${charts.cut(names[0], 30)}.`,
      label: `Differences in mean abstraction between ${names.join(" and ")} by layer. The numbers are in the table below.`,
      table: {
        columns: ["place", names[0], names[1], "difference", "95 % low", "95 % high", "p", "q"],
        rows: rows.map((row) => [
          row.place === "all" ? "all layers" : row.place,
          row.a,
          row.b,
          row.value,
          row.low,
          row.high,
          row.p,
          row.q,
        ]),
      },
      draw: charts.differences(rows, {
        places: ["all", ...contrast.place_names],
        models: [a, other],
        facets: ["abstraction"],
        words: () => "",
        tickFormat: (value) => format.number(value, 2),
      }),
    });
  }

  const named = (verdict) => (app.VERDICTS[verdict] ? `${app.VERDICTS[verdict].glyph} ${verdict}` : verdict);

  async function fillCharts(contrasts) {
    const place = app.byId("charts");
    const models = report.models.map((_, m) => m);
    const scored = measures.scored();
    const contrast = contrasts.length ? measures.contrastOfAll(contrasts) : null;
    const intervals = contrast ? TWO_WAY : WILSON;
    const add = (wide, options) => {
      const chart = charts.make(options);
      chart.classList.toggle("wide", wide);
      place.append(chart);
    };
    const describe = (what) =>
      `${what}, by layer and model: ${report.models.map((model) => model.label).join(", ")}. The numbers are in the table below.`;
    if (scored.length) {
      const { rows, places } = measures.verdicts(contrast);
      add(true, {
        title: "How many features stand for an object, how many for a concept?",
        note: `Share of the tested features of a layer. What is missing to 100 % is unresolved. ${intervals}`,
        label: describe("Shares of object, conceptual and polysemantic features"),
        legend: charts.legend(scored),
        draw: charts.byLayer(rows, {
          places,
          models: scored,
          facets: app.POSITIVE,
          bars: true,
          tickFormat: charts.percent,
          words: named,
        }),
        table: measures.table(rows, "verdict"),
      });
      const catalogue = contrast ? null : await app.loadCatalogue();
      const depth = measures.abstraction(contrast, catalogue);
      add(false, {
        title: "Are deeper layers more abstract?",
        note: `Mean abstraction of the object and conceptual features: 0 is a single object, 1 a concept of most images. ${intervals}`,
        label: describe("Mean abstraction"),
        legend: charts.legend(scored),
        draw: charts.byLayer(depth.rows, {
          places: depth.places,
          models: scored,
          facets: ["abstraction"],
          bars: false,
          tickFormat: (value) => format.number(value, 2),
        }),
        table: measures.table(depth.rows, "measure"),
      });
    }
    const silent = measures.silent();
    add(false, {
      title: scored.length ? "How many features have no verdict?" : "How many features are dead?",
      note: "Share of all features. Dead: the activation hardly varies between images. Untested: the list is too short, or its end was chosen by the order of the images. Lines are Wilson’s 95 % intervals, as if features were independent.",
      label: describe("Shares of dead features and of those that cannot be tested"),
      legend: charts.legend(models),
      draw: charts.byLayer(silent.rows, {
        places: silent.places,
        models,
        facets: [...new Set(silent.rows.map((row) => row.facet))],
        words: named,
        bars: true,
        tickFormat: charts.percent,
      }),
      table: measures.table(silent.rows, "what"),
    });
  }

  function fillLayers() {
    const rows = measures.layerNames().flatMap((name) => app.layers.filter((layer) => layer.name === name));
    const verdicts = Object.keys(app.VERDICTS).filter((name) => rows.some((layer) => name in measures.counts(layer)));
    const heads = ["Layer", "Model", "Features", ...verdicts, "median firing rate"];
    const table = element(
      "table",
      { class: "data panel" },
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          heads.map((text, i) => element("th", { scope: "col", class: i > 1 ? "number" : null, text })),
        ),
      ),
      element(
        "tbody",
        {},
        rows.map((layer, i) => {
          const first = i === 0 || rows[i - 1].name !== layer.name;
          const link = element(
            "a",
            { href: explorer({ model: report.models[layer.model].key, layer: layer.name }) },
            isolate(layer.name, "mono"),
          );
          const number = (text) => element("td", { class: "number", text });
          const counts = measures.counts(layer);
          return element(
            "tr",
            { class: first ? "first" : null },
            element("th", { scope: "row" }, link),
            element("td", {}, app.modelLabel(layer.model)),
            number(format.count(layer.width)),
            verdicts.map((verdict) => number(verdict in counts ? format.count(counts[verdict]) : "–")),
            number(format.share(layer.median_firing)),
          );
        }),
      ),
    );
    app.byId("layers").append(table);
  }

  async function fillExamples() {
    const kinds = Object.keys(report.examples).filter((kind) => report.examples[kind].length);
    if (!kinds.length) return;
    const catalogue = await app.loadCatalogue();
    app.byId("examples").hidden = false;
    for (const kind of kinds) {
      const block = app.byId(kind);
      block.hidden = false;
      report.models.forEach((_, m) => {
        const chosen = report.examples[kind].filter((g) => catalogue.layer(g).model === m).slice(0, EXAMPLES);
        if (!chosen.length) return;
        const cards = chosen.map((g) => app.fillCard(app.makeCard({ heading: "h5" }), catalogue, g));
        const column = element(
          "div",
          { class: "by-model" },
          element("h4", {}, app.modelLabel(m)),
          element("div", { class: "card-row" }, cards),
        );
        block.querySelector(".examples").append(app.paintModel(column, m));
      });
    }
  }

  function fillReading() {
    const texts = [...report.caveats, ...(report.concepts_note ? [report.concepts_note] : [])];
    app.byId("own").hidden = !texts.length;
    app.byId("notes").append(...texts.map((text) => element("li", {}, isolate(text), ".")));
  }

  async function fillModels() {
    app.byId("glances").append(...report.models.map(makeGlance));
    fillLayers();
    const contrasts = report.has.contrast ? await app.load("contrast") : [];
    fillContrasts(contrasts);
    await fillCharts(contrasts);
    await fillExamples();
  }

  try {
    fillLead();
    if (report.has.probes) app.byId("probes").append(app.makeProbeCards("h3"));
    fillReading();
    app.fillRuns();
    if (report.models.length) await fillModels();
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    app.fail(error);
    throw error;
  }
})();
