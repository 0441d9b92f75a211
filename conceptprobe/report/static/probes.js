"use strict";
// One probe, or where none is asked for, all of them. Address: probes.html#<key>?series=0.2&view=apart&layer=…&measure=…
(async function () {
  const app = window.conceptprobe;
  const { element, format, isolate, charts, byId } = app;
  const { report } = app;
  const MOST_SERIES = 16; // shown without being asked for
  const MOST_TOGETHER = 4; // lines that share a picture without being asked to
  /** @type {Probe} */
  let probe;
  /** @type {ProbeChoice} */
  let state;
  /** @type {Catalogue | null} */
  let catalogue = null;

  function readState() {
    const { path, values } = app.readHash();
    return { key: path || values.get("probe") || "", values };
  }

  // What is not in the address is as the result suggests.
  function choose(values) {
    const number = (name, known, fallback) =>
      known.map(String).includes(values.get(name)) ? Number(values.get(name)) : fallback;
    const asked = (values.get("series") || "")
      .split(".")
      .filter((text) => text !== "")
      .map(Number)
      .filter((series) => probe.series.includes(series));
    const series = asked.length
      ? probe.series.filter((own) => asked.includes(own))
      : probe.series.slice(0, MOST_SERIES);
    const pair = probe.pairs.find(([a, b]) => `${a}-${b}` === values.get("pair")) || probe.pairs[0] || null;
    const most = app.mostCurves(probe, series);
    const view = values.get("view");
    const layer = number("layer", probe.layers, probe.layers[probe.layers.length - 1]);
    const measure = number("measure", probe.measures, probe.measures[probe.measures.length - 1]);
    const places = placesOf(layer, measure);
    const at = places.includes(values.get("at")) ? values.get("at") : places[places.length - 1];
    return {
      series,
      pair,
      layer,
      measure,
      at,
      together: app.canBeTogether(most) && (view ? view === "together" : most * probe.models.length <= MOST_TOGETHER),
    };
  }

  const placesOf = (layer, measure) => [
    ...new Set(
      probe.extremes
        .filter((row) => row.layer === layer && row.measure === measure)
        .map((row) => `${row.series}:${row.x}`),
    ),
  ];

  function change(part, redraw) {
    const { values } = readState();
    for (const [name, value] of Object.entries(part)) {
      if (value === null) values.delete(name);
      else values.set(name, String(value));
    }
    app.goTo(app.writeHash(probe.key, values), true);
    state = choose(values);
    redraw();
  }

  async function show() {
    delete document.documentElement.dataset.ready;
    const { key, values } = readState();
    const found = report.probes.findIndex((own) => own.key === key);
    byId("unknown").hidden = !key || found >= 0;
    byId("unknown").replaceChildren("No probe of this report is called ", isolate(charts.cut(key, 200)), ".");
    byId("all").hidden = found >= 0;
    byId("one").hidden = found < 0;
    document.title = `${found < 0 ? "Probes" : report.probes[found].label} · ${report.title}`;
    if (found >= 0) {
      probe = app.readProbe(await app.load(`probes/${found}`));
      state = choose(values);
      fillHead(found);
      fillCurves();
      await fillSurvival();
      fillRest();
    }
    document.documentElement.dataset.ready = "true";
  }

  function fillHead(at) {
    byId("eyebrow").replaceChildren(isolate(probe.label));
    byId("question").replaceChildren(isolate(probe.question));
    byId("about").replaceChildren(
      `${format.plural(probe.images, "image")} of `,
      isolate(probe.source.spec),
      ", the same for every model: ",
      ...probe.models.flatMap((model, i) => [i ? ", " : "", app.probedLabel(model)]),
      ".",
    );
    byId("protocol").replaceChildren("Protocol: ", isolate(probe.protocol));
    byId("protocol").hidden = !probe.protocol;
    const summary = report.probes[at];
    byId("headline").replaceChildren(...(summary.headline ? [app.makeHeadline(summary.headline, summary.models)] : []));
    byId("caveats").hidden = !probe.caveats.length;
    byId("caveats").replaceChildren(
      ...probe.caveats.map((text) =>
        element("p", { class: "mind" }, element("strong", { text: "Mind: " }), isolate(text)),
      ),
    );
    const link = (id, other, words) => {
      byId(id).hidden = !other;
      if (!other) return;
      byId(id).href = app.probeHref(other.key);
      byId(id).replaceChildren(...words(isolate(other.label)));
    };
    link("before", report.probes[at - 1], (label) => ["‹ ", label]);
    link("after", report.probes[at + 1], (label) => [label, " ›"]);
  }

  // Which series the pictures show; the curves and, where features were followed, their survival.
  function makeSeries(redraw) {
    const boxes = probe.series.map((series) => {
      const box = element("input", { type: "checkbox", value: String(series) });
      box.checked = state.series.includes(series);
      return box;
    });
    const labels = boxes.map((box, i) =>
      element("label", { class: "chip choice" }, box, isolate(probe.seriesName(probe.series[i]), "clip")),
    );
    const group = element(
      "fieldset",
      { class: "choices" },
      element("legend", { text: "Series" }),
      element("div", { class: "chips" }, labels),
    );
    group.addEventListener("change", ({ target }) => {
      const chosen = probe.series.filter((_, i) => boxes[i].checked);
      if (!chosen.length) {
        if (target instanceof HTMLInputElement) target.checked = true; // at least one stays
        return;
      }
      change({ series: chosen.length === probe.series.length ? null : chosen.join(".") }, redraw);
    });
    return group;
  }

  function makeSegments(name, legend, options, current, pick) {
    const labels = options.map(([value, words]) => {
      const radio = element("input", { type: "radio", name, value: String(value) });
      radio.checked = String(value) === String(current);
      radio.addEventListener("change", () => pick(value));
      return element("label", {}, radio, isolate(words));
    });
    return element(
      "fieldset",
      { class: "choices" },
      element("legend", { text: legend }),
      element("div", { class: "segmented" }, labels),
    );
  }

  function makeSelect(words, options, current, pick) {
    const select = element(
      "select",
      {},
      options.map(([value, text]) => element("option", { value: String(value), text: charts.cut(text, 80) })),
    );
    select.value = String(current);
    select.addEventListener("change", () => pick(select.value));
    return element("label", {}, words, select);
  }

  function fillCurves() {
    const redraw = () => {
      drawCurves();
      drawSurvival();
    };
    const tools = [];
    if (probe.series.length > 1) tools.push(makeSeries(redraw));
    if (app.mostCurves(probe, probe.series) > 1)
      tools.push(
        makeSegments(
          "view",
          "Curves",
          [
            ["together", "together"],
            ["apart", "side by side"],
          ],
          state.together ? "together" : "apart",
          (view) => change({ view }, redraw),
        ),
      );
    if (probe.pairs.length > 1) {
      const pairs = probe.pairs.map(([a, b]) => [`${a}-${b}`, `${probe.name(a)} − ${probe.name(b)}`]);
      tools.push(makeSelect("Difference", pairs, state.pair?.join("-"), (pair) => change({ pair }, redraw)));
    }
    byId("tools").replaceChildren(...tools);
    byId("tools").hidden = !tools.length;
    drawCurves();
  }

  function drawCurves() {
    const view = byId("tools").querySelector("input[value=together]");
    if (view) {
      view.checked = state.together;
      byId("tools").querySelector("input[value=apart]").checked = !state.together;
      view.disabled = !app.canBeTogether(app.mostCurves(probe, state.series));
    }
    const rows = probe.metrics
      .map((metric) => app.makeMetric(probe, metric, state))
      .filter((figures) => figures.length);
    byId("curves").replaceChildren(...rows.map((figures) => element("div", { class: "metric" }, figures)));
    byId("no-curves").hidden = rows.length > 0;
  }

  async function fillSurvival() {
    byId("survival").hidden = !probe.survival.length && !probe.extremes.length;
    if (byId("survival").hidden) return;
    const known = probe.models.some((model) => model.numbers.length);
    catalogue = known && probe.extremes.length ? await app.loadCatalogue() : null;
    const { layer: layers, measure: measures } = probe.texts;
    const tools = [];
    if (probe.layers.length > 1)
      tools.push(
        makeSelect(
          "Layer",
          probe.layers.map((layer) => [layer, layers[layer]]),
          state.layer,
          (layer) => change({ layer, at: null }, drawSurvival),
        ),
      );
    if (probe.measures.length > 1)
      tools.push(
        makeSegments(
          "measure",
          "Measure",
          probe.measures.map((measure) => [measure, measures[measure]]),
          state.measure,
          (measure) => change({ measure }, drawSurvival),
        ),
      );
    byId("survival-tools").replaceChildren(...tools);
    byId("survival-tools").hidden = !tools.length;
    drawSurvival();
  }

  function drawSurvival() {
    if (!probe.survival.length && !probe.extremes.length) return;
    byId("groups").replaceChildren(...app.makeSurvival(probe, state));
    const places = placesOf(state.layer, state.measure);
    byId("extremes").hidden = !places.length;
    if (!places.length) return;
    const words = (place) => {
      const [series, x] = place.split(":").map(Number);
      return probe.place({ series, x, metric: -1 });
    };
    const pick = (at) => change({ at }, drawExtremes);
    byId("extreme-tools").replaceChildren(
      places.length > 1
        ? makeSelect(
            "Condition",
            places.map((place) => [place, words(place)]),
            state.at,
            pick,
          )
        : element("p", { class: "aside", text: words(places[0]) }),
    );
    drawExtremes();
  }

  function drawExtremes() {
    const measure = probe.texts.measure[state.measure];
    byId("extremes-note").replaceChildren(
      `By ${measure}, under one condition; ties are broken by the other measures, then by the lower number. These features are the extremes, so they are not typical. Features whose activations never varied are not counted.`,
      ...(catalogue ? [] : [" This report has no index of these models, so that features are not linked."]),
    );
    byId("extreme-lists").replaceChildren(...app.makeExtremes(probe, state, catalogue));
  }

  function fillRest() {
    byId("artifacts").hidden = !probe.artifacts.length;
    byId("pictures").replaceChildren(...app.makeArtifacts(probe));
    byId("context").hidden = !probe.context.length;
    byId("published").replaceChildren(...(probe.context.length ? [app.makeContext(probe.context)] : []));
    byId("files").replaceChildren(app.makeFiles(probe.files));
    const fact = (term, ...value) => [element("dt", {}, isolate(term)), element("dd", {}, ...value)];
    byId("settings").replaceChildren(
      ...fact("Seed", String(probe.seed)),
      ...(probe.pooling ? fact("Pooling", probe.pooling) : []),
      ...fact("Images", isolate(probe.source.spec), " ", print(probe.source.fingerprint)),
      ...probe.models.flatMap((model) =>
        fact(
          "Model",
          app.probedLabel(model),
          " ",
          print(model.fingerprint),
          model.head ? `, head ${model.head}${model.classes ? ` of ${format.count(model.classes)} classes` : ""}` : "",
        ),
      ),
      ...probe.settings.flatMap(([name, value]) => fact(name, isolate(value, "mono"))),
      ...fact(
        "Versions",
        isolate(
          Object.entries(probe.versions)
            .map(([name, value]) => `${name} ${value}`)
            .join(", "),
        ),
      ),
    );
    const blocks = [
      ["Shell", probe.command ?? ""],
      ["Python", probe.python.join("\n")],
    ].filter(([, text]) => text);
    byId("reproduce").replaceChildren(
      ...blocks.flatMap(([words, text]) => [
        element("div", { class: "title-line" }, element("h3", { text: words }), app.copyButton(text)),
        element("pre", { tabindex: "0", role: "region", "aria-label": words }, element("code", { text })),
      ]),
      ...(probe.command
        ? []
        : [element("p", { class: "aside", text: "This result does not record the call that made it." })]),
    );
  }

  const print = (fingerprint) =>
    element("code", { class: "print", title: fingerprint, text: String(fingerprint).slice(0, 12) });

  try {
    byId("list").append(app.makeProbeCards("h2"));
    app.onHash(() => {
      show().then(() => scrollTo(0, 0), app.fail);
    });
    app.onKeys(["j", "ArrowRight"], "next probe", () =>
      byId("one").hidden || byId("after").hidden ? false : byId("after").click(),
    );
    app.onKeys(["k", "ArrowLeft"], "previous probe", () =>
      byId("one").hidden || byId("before").hidden ? false : byId("before").click(),
    );
    await show();
  } catch (error) {
    app.fail(error);
    throw error;
  }
})();
