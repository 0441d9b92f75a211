"use strict";
// Two models side by side. State: compare.html#with=1&layer=…&sort=r&score=llr&verdicts=1&pair=<key of the first feature>
(async function () {
  const app = window.conceptprobe;
  const { element, format, charts, pairs, byId } = app;
  const { report } = app;
  const PAGE = 20; // pairs shown at first, and by each "more"
  const MOST_POINTS = 6000;
  const DEFAULTS = {
    with: "0",
    layer: "",
    sort: "evidence",
    score: "llr",
    verdicts: "",
    concepts: "",
    numbers: "",
    pair: "",
  };
  const SWITCHES = ["verdicts", "concepts", "numbers"];
  /** @typedef {{ contrast: ContrastData, a: number, b: number, file: string | null }} Option */
  /** @type {Catalogue} */
  let catalogue;
  /** @type {Option[]} */
  let options;
  /** @type {PairState & { with: string, pair: string }} */
  let state;
  /** @type {Option} */
  let current;
  /** @type {Pair[]} */
  let all;
  /** @type {Pair[]} */
  let shown;
  /** @type {Pair | null} */
  let chosen;
  /** @type {Figure} */
  let scatter;
  let count = 0;

  function readState() {
    const { values } = app.readHash();
    const chosenState = { ...DEFAULTS };
    for (const [name, value] of Object.entries(DEFAULTS)) chosenState[name] = values.get(name) || value;
    if (!options[chosenState.with]) chosenState.with = "0";
    if (![...byId("sort").options].some((option) => option.value === chosenState.sort))
      chosenState.sort = DEFAULTS.sort;
    return chosenState;
  }

  function writeState(push) {
    const kept = Object.entries(state).filter(([name, value]) => value !== DEFAULTS[name]);
    app.goTo(app.writeHash("", new Map(kept)), push);
  }

  // Every pair of models of every contrast that are both in the report.
  function findOptions(contrasts) {
    return contrasts.flatMap((contrast) =>
      contrast.models
        .slice(1)
        .filter((b) => b >= 0 && contrast.models[0] >= 0)
        .map((b) => ({
          contrast,
          a: contrast.models[0],
          b,
          file:
            contrast.matches.find((match) => match.model_b === b && match.model_a === contrast.models[0])?.file || null,
        })),
    );
  }

  async function showModels() {
    current = options[state.with];
    const { a, b, contrast, file } = current;
    byId("names").replaceChildren(
      app.modelLabel(a),
      element("span", { class: "against", text: " against " }),
      app.modelLabel(b),
    );
    byId("lead").textContent =
      `The same ${format.plural(contrast.settings.images, "image")}, ${format.plural(contrast.places.length, "pair")} of layers, the first ${contrast.settings.k} images of each feature.`;
    fillHeldConcepts();
    byId("matched").hidden = file === null;
    byId("unmatched").hidden = file !== null;
    if (file === null) return;
    const table = await app.load(file);
    all = pairs.read(table);
    const layers = [...new Set(all.map((pair) => catalogue.layer(pair.a).name))];
    byId("layer").replaceChildren(
      element("option", { value: "", text: "all layers" }),
      ...layers.map((name) => element("option", { value: name, text: name })),
    );
    if (!layers.includes(state.layer)) state.layer = "";
    fillControls();
    fillByLayer(table);
    showPairs();
  }

  function fillControls() {
    for (const name of ["layer", "sort", "score"]) byId(name).value = state[name];
    for (const name of SWITCHES) byId(name).checked = state[name] === "1";
  }

  function showPairs() {
    shown = pairs.choose(catalogue, all, state);
    const wanted = catalogue.find(state.pair);
    chosen = all.find((pair) => pair.a === wanted) || shown[0] || null;
    byId("count").textContent =
      `${format.plural(shown.length, "matched pair")}${shown.length < all.length ? ` of ${format.count(all.length)}` : ""}`;
    byId("pairs").replaceChildren();
    count = 0;
    growList();
    drawScatter();
    showChosen();
  }

  function growList() {
    const part = shown.slice(count, count + PAGE);
    byId("pairs").append(
      ...part.map((pair) => pairs.makeRow(catalogue, pair, (chosenPair) => choosePair(chosenPair, true))),
    );
    count += part.length;
    byId("more").hidden = count >= shown.length;
  }

  /** @param {Pair} pair */
  function choosePair(pair, scroll) {
    chosen = pair;
    state.pair = catalogue.key(pair.a);
    writeState(true);
    scatter.redraw();
    showChosen();
    if (scroll) byId("chosen").scrollIntoView({ block: "nearest" });
  }

  function showChosen() {
    const box = byId("chosen");
    if (!chosen) return box.replaceChildren(element("p", { class: "none", text: "No pair has all of this." }));
    const numbers = (g) => {
      const names = pairs.SCORES.filter((name) => catalogue.has(name));
      return element(
        "dl",
        { class: "numbers" },
        names.map((name) =>
          element(
            "div",
            {},
            element("dt", { text: app.NUMBERS[name].words }),
            element("dd", { text: app.NUMBERS[name].show(catalogue.number(name, g)) }),
          ),
        ),
      );
    };
    const half = (g) => {
      const line = app.featureLine(catalogue, g, { count: 6 });
      line.append(numbers(g));
      return app.paintModel(
        element(
          "div",
          { class: "half" },
          element("p", { class: "whose" }, app.modelLabel(catalogue.layer(g).model)),
          line,
        ),
        catalogue.layer(g).model,
      );
    };
    return box.replaceChildren(
      element("h3", { text: "The pair marked in the chart" }),
      half(chosen.a),
      pairs.link(catalogue, chosen),
      half(chosen.b),
    );
  }

  function drawScatter() {
    const { words, long } = app.NUMBERS[state.score];
    const labels = [current.a, current.b].map((m) => charts.cut(report.models[m].label, 30));
    const value = (g) => catalogue.number(state.score, g);
    const ranks = ["none", "other", ...app.POSITIVE.toReversed()];
    const named = (g) => charts.cut(catalogue.concept(g) || "no concept", 40);
    const points = shown.map((pair) => {
      const agreement = pairs.agreement(catalogue, pair);
      const title = [pair.a, pair.b].map(
        (g, i) =>
          `${labels[i]} ${catalogue.id(g)}\n${catalogue.verdict(g)}, ${named(g)}, ${words} ${app.NUMBERS[state.score].show(value(g))}`,
      );
      return {
        pair,
        x: value(pair.a),
        y: value(pair.b),
        colour: pairs.COLOURS[agreement],
        rank: ranks.indexOf(agreement),
        title: `${title.join("\n")}\nr ${format.number(pair.r, 2)}`,
      };
    });
    const kept = points
      .sort((one, two) => two.rank - one.rank)
      .slice(0, MOST_POINTS)
      .sort((one, two) => one.rank - two.rank);
    const finite = kept.flatMap((row) => [row.x, row.y]).filter(Number.isFinite);
    const [low, high] = finite.length ? [Math.min(...finite), Math.max(...finite)] : [0, 1];
    const left = points.length - kept.length;
    scatter = charts.make({
      title: `Do matched features have the same ${words}?`,
      note: `Each point is a pair; on the dashed line both have the same ${long}. Point at one to read it, click to see both features.${left ? ` ${format.count(left)} pairs without a verdict are not drawn.` : ""}`,
      label: `Scatter of ${long} of ${kept.length} matched pairs: ${labels.join(" against ")}. The pairs are listed below the chart, in the chosen order.`,
      legend: pairs.legend(),
      draw: charts.scatter(kept, {
        x: `${words} in ${labels[0]}`,
        y: `${words} in ${labels[1]}`,
        diagonal: [
          [low, low],
          [high, high],
        ],
        chosen: () => kept.find((row) => row.pair === chosen),
        choose: (row) => choosePair(row.pair, false),
      }),
      table: {
        columns: [
          labels[0],
          labels[1],
          "r",
          `${words} in ${labels[0]}`,
          `${words} in ${labels[1]}`,
          "concept in the first",
          "concept in the second",
        ],
        rows: shown
          .slice(0, 500)
          .map((pair) => [
            catalogue.id(pair.a),
            catalogue.id(pair.b),
            pair.r,
            value(pair.a),
            value(pair.b),
            catalogue.concept(pair.a) || "",
            catalogue.concept(pair.b) || "",
          ]),
      },
    });
    scatter.querySelector(".plot")?.classList.add("points");
    byId("scatter").replaceChildren(scatter);
  }

  function fillByLayer(table) {
    const { a, b } = current;
    const rows = pairs.counts(catalogue, table).map((row) => {
      const [low, high] = app.measures.wilson(row.count, row.of);
      const title = `${report.models[row.model].label}, ${row.place}\n${row.count} of ${row.of} features that vary are matched: ${charts.percent(row.count / row.of)}`;
      return { ...row, facet: "matched", value: row.count / row.of, low, high, counted: row.of, title };
    });
    const places = app.measures.layerNames().filter((name) => rows.some((row) => row.place === name));
    byId("by-layer").replaceChildren(
      charts.make({
        title: "How many features have a counterpart?",
        note: "Share of the features that vary. Lines are Wilson’s 95 % intervals, as if features were independent.",
        label: `Share of matched features by layer, ${report.models[a].label} and ${report.models[b].label}. The numbers are in the table below.`,
        legend: charts.legend([a, b]),
        draw: charts.byLayer(rows, {
          places,
          models: [a, b],
          facets: ["matched"],
          bars: true,
          tickFormat: charts.percent,
        }),
        table: app.measures.table(rows, "what"),
      }),
    );
  }

  function fillHeldConcepts() {
    const { contrast, a, b } = current;
    const lists = app.heldConcepts(contrast, a, b);
    byId("held").hidden = !lists.some((list) => list.length);
    const show = () => {
      const part = byId("find").value.trim().toLowerCase();
      const matching = (list) => (part ? list.filter((row) => row.name.toLowerCase().includes(part)) : list);
      byId("held-concepts").replaceChildren(
        ...lists.map((list, at) => app.makeHeldConcepts(catalogue, contrast, [a, b], at, matching(list))),
      );
    };
    byId("find").oninput = show;
    show();
  }

  function listen() {
    for (const name of ["layer", "sort", "score"])
      byId(name).addEventListener("change", () => change(name, byId(name).value));
    for (const name of SWITCHES)
      byId(name).addEventListener("change", () => change(name, byId(name).checked ? "1" : ""));
    byId("toolbar").addEventListener("submit", (event) => event.preventDefault());
    byId("which").addEventListener("change", async () => {
      state = { ...DEFAULTS, with: byId("which").value };
      writeState(true);
      await showModels();
    });
    byId("more").addEventListener("click", () => {
      const next = count;
      growList();
      byId("pairs").children[next].querySelector("a").focus();
    });
    app.onHash(async () => {
      state = readState();
      byId("which").value = state.with;
      await showModels();
    });
  }

  function change(name, value) {
    state[name] = value;
    writeState(true);
    showPairs();
  }

  try {
    const [contrasts, loaded] = await Promise.all([app.load("contrast"), app.loadCatalogue()]);
    catalogue = loaded;
    options = findOptions(contrasts);
    if (!options.length) throw new Error("The models of the contrast are not in this report.");
    byId("which").append(
      ...options.map((option, i) =>
        element("option", {
          value: String(i),
          text: `${report.models[option.a].label} against ${report.models[option.b].label}`,
        }),
      ),
    );
    byId("choice").hidden = options.length < 2;
    const scores = pairs.SCORES.filter((name) => catalogue.has(name));
    byId("score").append(...scores.map((name) => element("option", { value: name, text: app.NUMBERS[name].long })));
    DEFAULTS.score = scores[0];
    state = readState();
    if (!scores.includes(state.score)) state.score = DEFAULTS.score;
    byId("which").value = state.with;
    listen();
    await showModels();
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    app.fail(error);
    throw error;
  }
})();
