"use strict";
// A feature's card: made once, filled again and again as the reader scrolls.
(function () {
  const app = window.conceptprobe;
  const { format, element } = app;
  const TILES = 6;
  const NUMBERS = ["q", "llr", "firing_rate", "max"]; // shown on every card, where the report has them

  // How each number of the catalogue is called, shown and explained; also what one can sort by.
  app.NUMBERS = {
    llr: { words: "LLR", long: "LLR: evidence for its concept", show: format.number },
    q: { words: "q", long: "q: false discovery rate of its concept", show: format.p, up: true },
    p: { words: "p", long: "p: of its concept", show: format.p, up: true },
    hits: { words: "hits", long: "hits: top images of its concept", show: format.count },
    abstraction: { words: "abstraction", long: "abstraction of its concept", show: format.number },
    effective_leaves: { words: "leaves", long: "effective leaves under its concept", show: format.number },
    largest_leaf_share: { words: "largest leaf", long: "share of the largest leaf", show: format.share },
    auc: { words: "AUC", long: "held-out AUC of its name by words", show: format.number },
    named_auc: { words: "AUC", long: "held-out AUC of its name by concepts", show: format.number },
    firing_rate: { words: "fires", long: "firing rate", show: format.share },
    max: { words: "max", long: "largest activation", show: format.number },
    clarity: { words: "clarity", long: "clarity: likeness of its top images", show: format.number },
    monosemanticity: { words: "mono", long: "monosemanticity", show: format.number },
    redundancy: { words: "redundancy", long: "redundancy with other features", show: format.number },
    r: { words: "r", long: "correlation with its match in the other model", show: format.number },
  };

  // options: heading ("h3"), onSelect(g, on)
  app.makeCard = function (options = {}) {
    const card = /** @type {Card} */ (element("article", { class: "card", tabindex: options.tabindex ?? null }));
    const { onSelect } = options;
    /** @type {Card["parts"]} */
    const parts = {
      link: element("a", { class: "feature-id", tabindex: options.tabindex === undefined ? null : "-1" }),
      dot: element("span", { class: "dot", "aria-hidden": "true" }),
      layer: element("bdi", { class: "clip layer-name" }),
      index: element("span", { class: "feature-number" }),
      images: element("div", { class: "card-images", role: "img" }),
      title: element(options.heading || "h3", { class: "card-title clip" }),
      line: element("p", { class: "card-line" }),
      numbers: element("p", { class: "card-numbers" }),
      tiles: Array.from({ length: TILES + (app.report.has.visualizations ? 1 : 0) }, () =>
        element("span", { class: "tile" }),
      ),
      check: null,
    };
    if (app.report.has.visualizations) card.classList.add("has-hero");
    if (app.report.has.visualizations) parts.tiles[0].classList.add("hero");
    parts.images.append(...parts.tiles);
    parts.link.append(parts.dot, parts.layer, parts.index);
    const head = element("header", { class: "card-head" }, parts.link);
    if (onSelect) {
      const check = element("input", { type: "checkbox", tabindex: "-1", title: "Select (x)" });
      check.addEventListener("change", () => onSelect(card.feature, check.checked));
      head.append(element("label", { class: "select" }, check));
      parts.check = check;
    }
    card.append(head, parts.images, parts.title, parts.line, parts.numbers);
    card.parts = parts;
    return card;
  };

  // Shows feature g. options: sort (a number that is shown first), selected.
  app.fillCard = function (card, catalogue, g, options = {}) {
    const { parts } = card;
    const layer = catalogue.layer(g);
    const key = catalogue.key(g);
    card.feature = g;
    card.dataset.key = key;
    app.paintModel(card, layer.model);
    parts.link.href = app.featureHref(key);
    parts.layer.textContent = layer.name;
    parts.index.textContent = `:${g - layer.start}`;
    fillImages(parts, catalogue, g);
    const name = catalogue.name(g);
    const verdict = catalogue.verdict(g);
    parts.title.classList.toggle("unsure", !name || (name.from === "concept" && !catalogue.found(g)));
    parts.title.replaceChildren(name ? app.isolate(name.text) : "no name");
    card.setAttribute("aria-label", `${name ? name.text : "no name"}, ${verdict}, ${catalogue.id(g)}`);
    fillLine(parts.line, catalogue, g, name, verdict);
    fillNumbers(parts.numbers, catalogue, g, options.sort);
    if (parts.check) {
      parts.check.checked = Boolean(options.selected);
      parts.check.setAttribute("aria-label", `Select ${catalogue.id(g)}`);
    }
    return card;
  };

  /**
   * @param {Card["parts"]} parts
   * @param {Catalogue} catalogue
   * @param {number} g
   */
  function fillImages(parts, catalogue, g) {
    const top = catalogue.top(g);
    const visualization = catalogue.number("vis", g);
    const labels = [...new Set(top.map((n) => catalogue.images.label(n)).filter((label) => label !== null))];
    parts.link.title = labels.slice(0, TILES).join(" · ");
    parts.images.setAttribute(
      "aria-label",
      top.length ? `Top images: ${labels.join(", ") || "without labels"}` : "No image",
    );
    let tiles = parts.tiles;
    if (app.report.has.visualizations) {
      const seen = visualization >= 0;
      tiles[0].classList.toggle("visualization", seen);
      if (seen) {
        app.fillVisualization(tiles[0], visualization);
        tiles = tiles.slice(1);
      }
    }
    tiles.forEach((tile, i) => {
      const n = i < top.length ? top[i] : null;
      app.fillTile(tile, catalogue.images, n);
    });
  }

  /**
   * @param {HTMLElement} line
   * @param {Catalogue} catalogue
   * @param {number} g
   * @param {FeatureName | null} name
   * @param {Verdict} verdict
   */
  function fillLine(line, catalogue, g, name, verdict) {
    const concept = catalogue.concept(g);
    line.replaceChildren(app.verdictBadge(verdict));
    const other = name && name.text === concept ? catalogue.word("word", g) : concept;
    if (other !== null && !(name && name.text === other))
      line.append(other === concept ? app.isolate(concept, "clip") : makeWord(catalogue, other, g));
    const hits = catalogue.number("hits", g);
    if (concept === null || Number.isNaN(hits)) return;
    const k = app.report.models[catalogue.layer(g).model].table_k;
    line.append(
      element("span", {
        class: "hits",
        text: `${hits}/${k}`,
        title: `${hits} of its first ${k} images are of ${concept}`,
      }),
    );
  }

  /**
   * A name beside the concept: in quotation marks, for it is a word that fits, and was tested for no more than that.
   * @param {Catalogue} catalogue
   * @param {number} g
   */
  function makeWord(catalogue, word, g) {
    const auc = format.number(catalogue.number("auc", g));
    return element("span", { class: "clip", title: `Name by words, AUC ${auc}` }, "“", app.isolate(word), "”");
  }

  /**
   * @param {Catalogue} catalogue
   * @param {number} g
   */
  function fillNumbers(line, catalogue, g, sort) {
    const first = sort && app.NUMBERS[sort] && !NUMBERS.includes(sort) ? [sort] : [];
    const names = [...first, ...NUMBERS].filter((name) => catalogue.has(name)).slice(0, 4);
    line.replaceChildren(
      ...names.map((name) => {
        const { words, long, show } = app.NUMBERS[name];
        const value = element("span", { class: name === sort ? "sorted" : null, title: long, text: `${words} ` });
        value.append(element("b", { text: show(catalogue.number(name, g)) }));
        return value;
      }),
    );
  }
})();
