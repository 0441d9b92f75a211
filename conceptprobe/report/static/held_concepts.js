"use strict";
// Concepts by which of two models holds them.
(function () {
  const app = window.conceptprobe;
  const { element, format, isolate } = app;
  const FIRST = 8; // concepts that a list shows before one asks for more
  const values = (packed) => (Array.isArray(packed) ? packed : app.decode(packed));

  // Rows of a contrast for two models: only in the first, only in the second, in both; strongest first.
  app.heldConcepts = function (contrast, a, b) {
    const { concepts } = contrast;
    const columnsOf = (m) => {
      const table = concepts.models.find((side) => side.model === m) ?? concepts.models[0];
      return Object.fromEntries(
        ["state", "held", "feature", "hits", "k", "llr", "power", "sure"].map((name) => [
          name,
          typeof table[name] === "number" ? table[name] : values(table[name]),
        ]),
      );
    };
    const sides = [columnsOf(a), columnsOf(b)];
    const held = contrast.states.indexOf("held");
    /** @type {HeldConcept[][]} */
    const lists = [[], [], []];
    concepts.name.forEach((name, i) => {
      const who = sides.map((side) => side.state[i] === held);
      if (!who[0] && !who[1]) return;
      const at = who[0] && who[1] ? 2 : who[0] ? 0 : 1;
      const of = sides.map((side) =>
        Object.fromEntries(
          Object.entries(side).map(([key, array]) => [key, typeof array === "number" ? array : array[i]]),
        ),
      );
      lists[at].push({
        name,
        kind: concepts.kind[i],
        of,
        llr: Math.max(...of.filter((_, m) => who[m]).map((side) => side.llr)),
      });
    });
    for (const list of lists) list.sort((one, two) => two.llr - one.llr || (one.name < two.name ? -1 : 1));
    return lists;
  };

  /**
   * What the model that does not hold a concept has of it.
   * @param {ContrastData} contrast
   * @param {HeldConcept["of"][number]} side
   * @param {string} label
   */
  function absence(contrast, side, label) {
    if (side.sure) return ["sure", `surely none in ${label}`];
    if (contrast.states[side.state] === "enriched") return ["", `a feature of ${label} is enriched for it`];
    return [
      "",
      Number.isNaN(side.power) || side.power === null
        ? `not found in ${label}`
        : `not found in ${label}, although with power ${format.number(side.power, 2)}`,
    ];
  }

  /**
   * @param {Catalogue} catalogue
   * @param {ContrastData} contrast
   * @param {HeldConcept} row
   * @param {number[]} models
   * @param {number} at
   */
  function makeRow(catalogue, contrast, row, models, at) {
    const holding = at === 2 ? [0, 1] : [at];
    const item = element(
      "li",
      { class: "held-concept" },
      element("h4", {}, app.conceptLink(row.name, "clip")),
      element("span", { class: "kind", text: row.kind }),
    );
    for (const m of holding) {
      const side = row.of[m];
      const facts = `${side.hits}/${side.k} images, LLR ${format.number(side.llr, 3)}${side.held > 1 ? `, ${format.plural(side.held, "feature")}` : ""}`;
      const line = element(
        "div",
        { class: "holding" },
        side.feature >= 0 && app.featureLink(catalogue, side.feature, true),
        element("span", { class: "facts", text: facts }),
      );
      if (side.feature >= 0) line.append(app.imageStrip(catalogue, side.feature, 6));
      item.append(line);
    }
    if (at < 2) {
      const [certain, text] = absence(contrast, row.of[1 - at], charts(models[1 - at]));
      item.append(element("p", { class: `absence ${certain}` }, isolate(text)));
    }
    return item;
  }

  const charts = (m) => app.charts.cut(app.report.models[m].label, 40);

  // A list that grows on demand.
  app.makeHeldConcepts = function (catalogue, contrast, [a, b], at, rows) {
    const models = [a, b];
    const title = at === 2 ? ["In both"] : ["Only in ", app.modelLabel(models[at])];
    const list = element("ol", { class: "plain-list" });
    const more = element("button", { type: "button", text: "Show more" });
    let shown = 0;
    const grow = (count) => {
      const part = rows.slice(shown, shown + count);
      list.append(...part.map((row) => makeRow(catalogue, contrast, row, models, at)));
      shown += part.length;
      more.hidden = shown >= rows.length;
      more.textContent = `Show more (${format.count(rows.length - shown)} left)`;
    };
    more.addEventListener("click", () => {
      const next = shown;
      grow(4 * FIRST);
      list.children[next].querySelector("a")?.focus();
    });
    grow(FIRST);
    const box = element(
      "section",
      { class: "panel holding-list" },
      element("h3", {}, title, element("span", { class: "of", text: format.count(rows.length) })),
      rows.length ? list : element("p", { class: "none", text: "None." }),
      more,
    );
    return at === 2 ? box : app.paintModel(box, models[at]);
  };
})();
