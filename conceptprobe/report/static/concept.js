"use strict";
// One concept, or where none is asked for, all of them. Address: concept.html#<name>?model=clip&layer=…&sort=hits&scored=1
(async function () {
  const app = window.conceptprobe;
  const { element, format, isolate, charts, byId } = app;
  const { report } = app;
  const PAGE = 30;
  const MOST_RELATIVES = 40;
  const DEFAULTS = { model: "", layer: "", sort: "llr", scored: "" };
  /** @typedef {{ g: number, hits: number, llr: number, p: number, q: number, layer: Layer, own: boolean }} Row */
  /** @type {Catalogue} */
  let catalogue;
  /** @type {Taxonomy} */
  let taxonomy;
  /** @type {Row[]} */
  let all;
  /** @type {Row[]} */
  let shown;
  /** @type {number[]} */
  let listed;
  let state, number, count;

  // The concept's name may hold "?" only percent-encoded, so the path is the name.
  function readState() {
    const { path, values } = app.readHash();
    const chosenState = Object.fromEntries(
      Object.entries(DEFAULTS).map(([name, value]) => [name, values.get(name) || value]),
    );
    if (![...byId("sort").options].some((option) => option.value === chosenState.sort)) chosenState.sort = "llr";
    return { name: path, ...chosenState };
  }

  function writeState() {
    const kept = Object.entries(DEFAULTS)
      .filter(([name, value]) => state[name] !== value)
      .map(([name]) => [name, state[name]]);
    const query = new URLSearchParams(kept).toString();
    app.goTo(`#${encodeURIComponent(taxonomy.names[number])}${query ? `?${query}` : ""}`, true);
  }

  async function show() {
    state = readState();
    number = state.name ? taxonomy.find(state.name) : -1;
    byId("one").hidden = number < 0;
    byId("all-concepts").hidden = number >= 0;
    byId("found-none")?.remove();
    if (number < 0) {
      document.title = `Concepts · ${report.title}`;
      if (state.name)
        byId("content").prepend(
          element(
            "p",
            { class: "notice", id: "found-none", role: "alert" },
            "No concept of this report is called ",
            isolate(charts.cut(state.name, 200)),
            ".",
          ),
        );
      return;
    }
    document.title = `${charts.cut(taxonomy.names[number], 80)} · ${report.title}`;
    fillHead();
    fillRelatives();
    const part = await app.load(`concepts/${Math.floor(number / report.concept_chunk)}`);
    const at = number - part.first;
    fillImages(part.images[at]);
    all = part.features[at].map(([g, hits, llr, p, q]) => ({
      g,
      hits,
      llr,
      p,
      q,
      layer: catalogue.layer(g),
      own: catalogue.concept(g) === taxonomy.names[number] && catalogue.found(g),
    }));
    fillControls();
    showFeatures();
  }

  function fillHead() {
    const c = number;
    const path = taxonomy.path(c).slice(0, -1);
    byId("trail").replaceChildren(
      ...path.flatMap((broader) => [
        app.conceptLink(taxonomy.names[broader], "clip"),
        element("span", { class: "up", "aria-hidden": "true", text: "›" }),
      ]),
    );
    byId("trail").hidden = !path.length;
    byId("name").replaceChildren(isolate(taxonomy.names[c]));
    const alias = taxonomy.alias[c];
    const level = taxonomy.leaf[c]
      ? "an object: a leaf of the hierarchy"
      : taxonomy.at_leaf_level[c]
        ? "at leaf level: a part or another name of an object"
        : "broader than an object";
    byId("lead").replaceChildren(
      `${taxonomy.kindOf(c)}, ${level}. ${format.plural(taxonomy.size[c], "image")} of ${format.count(taxonomy.images)}, ${format.number(taxonomy.information[c] / Math.LN2, 3)} bits.`,
      ...(alias ? [" Also called ", isolate(alias.join(", ")), "."] : []),
    );
  }

  function fillRelatives() {
    const box = (title, numbers, none) => {
      const sorted = [...numbers].sort(
        (a, b) => taxonomy.total(b) - taxonomy.total(a) || taxonomy.size[b] - taxonomy.size[a],
      );
      const chips = sorted
        .slice(0, MOST_RELATIVES)
        .map((c) =>
          element(
            "a",
            { class: "chip", href: app.conceptHref(taxonomy.names[c]) },
            isolate(taxonomy.names[c], "clip"),
            element("span", { class: "of", text: format.count(taxonomy.size[c]) }),
          ),
        );
      const rest = sorted.length - chips.length;
      return element(
        "div",
        { class: "panel" },
        element("h3", {}, title, element("span", { class: "of", text: format.count(sorted.length) })),
        chips.length
          ? element(
              "div",
              { class: "chips" },
              chips,
              rest > 0 && element("span", { class: "chip of", text: `and ${format.count(rest)} more` }),
            )
          : element("p", { class: "none", text: none }),
      );
    };
    byId("relatives").hidden = !taxonomy.parents[number].length && !taxonomy.children[number].length;
    byId("relatives").replaceChildren(
      box("Broader", taxonomy.parents[number], "None: it stands at the top."),
      box("Narrower", taxonomy.children[number], "None: nothing stands below it."),
    );
  }

  function fillImages(numbers) {
    byId("sampled").textContent =
      numbers.length < taxonomy.size[number]
        ? `${numbers.length} of its ${format.count(taxonomy.size[number])} images, drawn at random.`
        : "All of them.";
    const figures = numbers.map((n) => {
      const label = catalogue.images.label(n);
      const words = element("figcaption", {}, isolate(label === null ? "" : label, "clip"));
      const tile = app.makeTile(catalogue.images, n, label || `image ${n}`);
      if (label === null)
        catalogue.images.words(n).then((text) => {
          words.replaceChildren(isolate(charts.cut(text, 60), "clip"));
          tile.setAttribute("aria-label", charts.cut(text, 200));
        });
      return element("figure", {}, tile, words);
    });
    byId("images").replaceChildren(
      ...(figures.length ? figures : [element("p", { class: "none", text: "None of its images is in this report." })]),
    );
  }

  function fillControls() {
    const models = [...new Set(all.map((row) => row.layer.model))].sort((a, b) => a - b);
    const layers = [...new Set(all.map((row) => row.layer))]
      .sort((a, b) => a.start - b.start)
      .map((layer) => layer.name);
    const fill = (id, words, values) =>
      byId(id).replaceChildren(
        element("option", { value: "", text: words }),
        ...values.map(([value, text]) => element("option", { value, text })),
      );
    fill(
      "model",
      "all models",
      models.map((m) => [report.models[m].key, report.models[m].label]),
    );
    fill(
      "layer",
      "all layers",
      [...new Set(layers)].map((name) => [name, name]),
    );
    for (const id of ["model", "layer", "sort"]) {
      if (![...byId(id).options].some((option) => option.value === state[id])) state[id] = DEFAULTS[id];
      byId(id).value = state[id];
    }
    byId("scored").checked = state.scored === "1";
    const held = report.models.map((_, m) => taxonomy.heldBy(number, m));
    const said = report.has.scores
      ? `${report.models.map((model, m) => `${model.label}: ${format.plural(held[m], "feature")}`).join("; ")} with a verdict for it. `
      : "";
    const most = all.length >= 100 ? "The 100 strongest features" : "All features";
    byId("explained").replaceChildren(
      isolate(
        `${said}${most} that have it among the best concepts of their first images. p and q are of this concept alone, over random lists: they describe. A verdict has passed more tests.`,
      ),
    );
  }

  function showFeatures() {
    const order = {
      llr: (a, b) => b.llr - a.llr,
      hits: (a, b) => b.hits - a.hits || b.llr - a.llr,
      layer: (a, b) => a.layer.start - b.layer.start || b.llr - a.llr,
    }[state.sort];
    shown = all
      .filter(
        (row) =>
          (!state.model || report.models[row.layer.model].key === state.model) &&
          (!state.layer || row.layer.name === state.layer) &&
          (!state.scored || row.own),
      )
      .sort((a, b) => order(a, b) || a.g - b.g);
    byId("count").textContent = shown.length
      ? format.plural(shown.length, "feature")
      : "No feature has it among the best concepts of its first images.";
    byId("features").closest(".scroll").hidden = !shown.length;
    byId("features").replaceChildren();
    count = 0;
    grow();
    fillWhere();
  }

  function grow() {
    const part = shown.slice(count, count + PAGE);
    byId("features").append(...part.map(makeRow));
    count += part.length;
    byId("more").hidden = count >= shown.length;
  }

  /** @param {Layer} layer */
  function kOf(layer) {
    const model = report.models[layer.model];
    return model.scores ? model.scores.k : model.table_k;
  }

  function makeRow(row) {
    const cell = (text) => element("td", { class: "number", text });
    const best = catalogue.concept(row.g);
    return element(
      "tr",
      {},
      element(
        "th",
        { scope: "row" },
        app.featureLink(catalogue, row.g, true),
        element("div", { class: "whose" }, app.modelLabel(row.layer.model)),
      ),
      element("td", {}, app.imageStrip(catalogue, row.g, 6)),
      element("td", {}, app.verdictBadge(catalogue.verdict(row.g))),
      cell(`${row.hits}/${kOf(row.layer)}`),
      cell(format.number(row.llr)),
      cell(format.p(row.p)),
      cell(format.p(row.q)),
      element(
        "td",
        {},
        best === null
          ? "–"
          : best === taxonomy.names[number]
            ? element("span", { class: "none", text: "this one" })
            : app.conceptLink(best, "clip"),
      ),
    );
  }

  // Where the features are: evidence by layer.
  function fillWhere() {
    if (!shown.length) return byId("where").replaceChildren();
    const places = [...new Set(app.layers.map((layer) => layer.name))].filter((name) =>
      all.some((row) => row.layer.name === name),
    );
    const models = [...new Set(shown.map((row) => row.layer.model))].sort((a, b) => a - b);
    const step = 0.4 / report.models.length;
    const rows = shown.map((row) => ({
      row,
      y: row.llr,
      colour: charts.colour(row.layer.model),
      x: places.indexOf(row.layer.name) + step * (row.layer.model - (report.models.length - 1) / 2),
      title: `${report.models[row.layer.model].label} ${catalogue.id(row.g)}\n${catalogue.verdict(row.g)}, ${row.hits} of ${kOf(row.layer)} images\nLLR ${format.number(row.llr)}`,
    }));
    const short = charts.shorten(places);
    const where = charts.make({
      title: "Where are they?",
      note: "Evidence (log-likelihood ratio) for this concept by layer. Each point is a feature; click to open it.",
      label: `Evidence for ${taxonomy.names[number]} by layer and model, ${shown.length} features. The features are in the table below.`,
      legend: charts.legend(models),
      draw: charts.scatter(rows, {
        x: short.of,
        y: "LLR",
        height: 260,
        chosen: () => null,
        choose: ({ row }) => location.assign(app.featureHref(catalogue.key(row.g))),
        xs: {
          domain: [-0.5, places.length - 0.5],
          ticks: d3.range(places.length),
          tickFormat: (i) => charts.cut(short.names[i], 24),
          nice: false,
        },
        gridX: false,
        ys: { zero: true },
      }),
    });
    where.querySelector(".plot")?.classList.add("points");
    return byId("where").replaceChildren(where);
  }

  // All concepts: those with the most features first, or those that a text is in.
  function fillFinder() {
    const models = report.models;
    const heads = ["Concept", "Kind", "Images", ...models.map((model) => model.label)];
    byId("heads").append(
      ...heads.map((text, i) => element("th", { scope: "col", class: i > 1 ? "number" : null }, isolate(text))),
    );
    const find = () => {
      const part = byId("find").value.trim().toLowerCase();
      const fits = taxonomy.names.flatMap((name, c) => (!part || name.toLowerCase().includes(part) ? [c] : []));
      const counted = fits.map((c) => ({
        c,
        held: taxonomy.total(c),
        listed: models.reduce((sum, _, m) => sum + taxonomy.listedBy(c, m), 0),
      }));
      listed = counted.sort((a, b) => b.held - a.held || b.listed - a.listed || a.c - b.c).map(({ c }) => c);
      byId("found").textContent =
        `${format.plural(listed.length, "concept")}. Under each model: features with a verdict for it, of those that have it among their first three concepts.`;
      byId("concepts").replaceChildren();
      growFinder();
    };
    byId("find").addEventListener("input", find);
    byId("more-concepts").addEventListener("click", () => {
      const next = byId("concepts").children.length;
      growFinder();
      byId("concepts").children[next].querySelector("a").focus();
    });
    find();
  }

  function growFinder() {
    const at = byId("concepts").children.length;
    byId("concepts").append(
      ...listed.slice(at, at + PAGE).map((c) =>
        element(
          "tr",
          {},
          element("th", { scope: "row" }, app.conceptLink(taxonomy.names[c], "clip")),
          element("td", { text: taxonomy.kindOf(c) }),
          element("td", { class: "number", text: format.count(taxonomy.size[c]) }),
          report.models.map((_, m) =>
            element("td", {
              class: "number",
              text: `${format.count(taxonomy.heldBy(c, m))} of ${format.count(taxonomy.listedBy(c, m))}`,
            }),
          ),
        ),
      ),
    );
    byId("more-concepts").hidden = byId("concepts").children.length >= listed.length;
  }

  function listen() {
    const change = (name, value) => {
      state[name] = value;
      writeState();
      showFeatures();
    };
    for (const name of ["model", "layer", "sort"])
      byId(name).addEventListener("change", () => change(name, byId(name).value));
    byId("scored").addEventListener("change", () => change("scored", byId("scored").checked ? "1" : ""));
    byId("toolbar").addEventListener("submit", (event) => event.preventDefault());
    byId("more").addEventListener("click", () => {
      const next = count;
      grow();
      byId("features").children[next].querySelector("a").focus();
    });
    // A link to another concept of this page: show it from its top.
    window.addEventListener("hashchange", async () => {
      await show();
      window.scrollTo(0, 0);
    });
  }

  try {
    [catalogue, taxonomy] = await Promise.all([app.loadCatalogue(), app.loadTaxonomy()]);
    fillFinder();
    await show();
    listen();
    document.documentElement.dataset.ready = "true";
  } catch (error) {
    app.fail(error);
    throw error;
  }
})();
