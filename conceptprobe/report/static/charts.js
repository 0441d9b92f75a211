"use strict";
// Charts by Observable Plot. Colours are CSS variables, so that a change of scheme needs no new picture.
(function () {
  const app = window.conceptprobe;
  const { element, format } = app;
  const NARROW = 620; // px; below it facets stand one above the other
  const LETTER = 6.4; // px, a letter of an axis
  const LONGEST_NAME = 24; // letters of a layer on an axis
  const LEAST_BAR = 4; // px
  app.charts = /** @type {Charts} */ ({});
  const { charts } = app;

  charts.colour = (model) => `var(--model-${app.report.models[model].colour % 6})`;
  charts.percent = (value) => `${format.number(100 * value, 2)} %`;

  // Long texts in a tip would leave the picture.
  charts.cut = (text, length = 48) => (text.length > length ? `${text.slice(0, length - 1)}…` : text);

  // A figure: question, explanation, legend, picture, and the numbers behind it as a table.
  // { title, note, label (the picture in words), legend, draw(width) -> SVG, table: {columns, rows}, least (px) }
  charts.make = function ({ title, note, label, legend, draw, table, least = 260 }) {
    const place = element("div", { role: "img", "aria-label": label }); // its parts say nothing to a screen reader
    const plot = element("div", { class: "plot" }, place);
    const words = element(
      "figcaption",
      {},
      element("h3", { text: title }),
      note && element("p", { class: "aside", text: note }),
    );
    const figure = /** @type {Figure} */ (
      element("figure", { class: "chart panel" }, words, legend, plot, table && makeTable(title, table))
    );
    let drawn = 0;
    const redraw = () => {
      const width = Math.max(Math.floor(plot.clientWidth), least);
      if (!plot.clientWidth || width === drawn) return;
      drawn = width;
      const picture = draw(width);
      // The page's policy forbids style elements; charts.css has these rules. They are removed before they apply.
      for (const style of picture.querySelectorAll("style")) style.remove();
      picture.setAttribute("aria-hidden", "true");
      place.replaceChildren(picture);
    };
    figure.redraw = () => {
      drawn = 0;
      redraw();
    };
    new ResizeObserver(redraw).observe(plot);
    return figure;
  };

  /**
   * @param {string} title
   * @param {ChartTable} table
   */
  function makeTable(title, { columns, rows }) {
    const numeric = columns.map((_, i) => rows.some((row) => typeof row[i] === "number"));
    const cell = (value, i) => {
      const text = typeof value === "number" ? format.number(value, 4) : value === null ? "–" : value;
      return element(
        "td",
        { class: numeric[i] ? "number" : null },
        typeof value === "string" ? app.isolate(text) : text,
      );
    };
    const head = element(
      "tr",
      {},
      columns.map((text, i) => element("th", { scope: "col", class: numeric[i] ? "number" : null, text })),
    );
    const body = rows.map((row) => element("tr", {}, row.map(cell)));
    const region = { class: "scroll", tabindex: "0", role: "region", "aria-label": `Numbers: ${title}` };
    const data = element(
      "div",
      region,
      element("table", { class: "data" }, element("thead", {}, head), element("tbody", {}, body)),
    );
    const save = () => app.download("chart.csv", "text/csv", charts.csv([columns, ...rows]));
    const button = element("button", { type: "button", class: "small", text: "Save as CSV", onclick: save });
    return element(
      "details",
      { class: "behind" },
      element("summary", { text: "Numbers behind the chart" }),
      data,
      button,
    );
  }

  // RFC 4180; a text that a spreadsheet would take for a formula gets an apostrophe.
  charts.csv = function (rows) {
    const field = (value) => {
      if (typeof value === "number") return String(value);
      const text = value === null || value === undefined ? "" : String(value);
      const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
      return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    return `${rows.map((row) => row.map(field).join(",")).join("\r\n")}\r\n`;
  };

  charts.legend = (models) =>
    element(
      "p",
      { class: "legend" },
      models.map((m) => app.modelLabel(m)),
    );

  // Layer names without what all of them share: "blocks.4.mlp.hidden" among its like is "4" of "blocks.·.mlp.hidden".
  charts.shorten = function (names) {
    const parts = names.map((name) => name.split("."));
    const [first] = parts;
    const alike = parts.every((words) => words.length === first.length);
    const varies = first ? first.map((_, i) => parts.some((words) => words[i] !== first[i])) : [];
    if (!alike || names.length < 2 || varies.filter(Boolean).length !== 1) return { names, of: "layer" };
    const at = varies.indexOf(true);
    return { names: parts.map((words) => words[at]), of: first.map((part, i) => (i === at ? "·" : part)).join(".") };
  };

  // Which names an axis has room for, in slots of some pixels: all, every second, …; long ones are turned.
  function placeNames(names, slot) {
    const longest = Math.max(...names.map((name) => Math.min(name.length, LONGEST_NAME))) * LETTER;
    const turned = longest > Math.max(slot - 4, 5 * LETTER);
    const step = Math.ceil((turned ? 15 : longest + 6) / slot);
    const ticks = d3.range(0, names.length, step);
    return { ticks, turned, below: turned ? longest * 0.65 : 0, left: turned ? longest * 0.78 - slot / 2 + 12 : 0 };
  }

  // Values with intervals by layer, models side by side, one facet beside or below the other.
  // rows: { model, place, facet, value, low, high, title }; bars: from zero, else points joined by lines.
  charts.byLayer = function (rows, { places, models, facets, bars, tickFormat, words = (facet) => facet }) {
    const short = charts.shorten(places);
    const slot = (bars ? 0.8 : 0.36) / models.length;
    const known = rows.filter((row) => Number.isFinite(row.value) && places.includes(row.place));
    const placed = known.map((row) => {
      const left = places.indexOf(row.place) - (slot * models.length) / 2 + slot * models.indexOf(row.model);
      return {
        ...row,
        left: left + slot * 0.06,
        right: left + slot * 0.94,
        middle: left + slot / 2,
        colour: charts.colour(row.model),
      };
    });
    return (width) => {
      const beside =
        facets.length > 1 && width >= Math.max(NARROW, LEAST_BAR * facets.length * places.length * models.length);
      const across = beside ? "fx" : "fy";
      const { ticks, turned, below, left } = placeNames(
        short.names,
        (beside ? width / facets.length : width - 60) / places.length,
      );
      const facet = { [across]: "facet" };
      const interval = { x: "middle", y1: "low", y2: "high", stroke: "var(--text)", strokeWidth: 1.25, ...facet };
      const marks = bars
        ? [
            Plot.rect(placed, {
              x1: "left",
              x2: "right",
              y1: 0,
              y2: "value",
              fill: "colour",
              fillOpacity: 0.72,
              ...facet,
            }),
            Plot.ruleX(placed, interval),
            Plot.ruleY([0], { stroke: "var(--muted)" }),
          ]
        : [
            Plot.ruleX(placed, { ...interval, stroke: "colour", strokeWidth: 2 }),
            Plot.line(placed, { x: "middle", y: "value", z: "model", stroke: "colour", strokeOpacity: 0.45, ...facet }),
            Plot.dot(placed, { x: "middle", y: "value", r: 4.5, fill: "colour", stroke: "var(--surface)", ...facet }),
          ];
      const height = facets.length > 1 && !beside ? 170 * facets.length : Math.max(240, Math.min(340, width / 3.4));
      return Plot.plot({
        width,
        height: height + below,
        marginLeft: Math.max(52, left),
        marginRight: 8,
        marginTop: facets.length > 1 ? 30 : 14,
        marginBottom: 44 + below,
        x: { domain: [-0.5, places.length - 0.5], label: null },
        y: { label: null, nice: true, zero: bars },
        [across]: { domain: facets, axis: null, padding: beside ? 0.08 : 0.22 },
        marks: [
          Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1, ticks: 5 }),
          Plot.axisY({ ticks: 5, tickSize: 0, tickFormat, fill: "var(--muted)", label: null }),
          Plot.axisX(ticks, {
            tickFormat: (i) => charts.cut(short.names[i], LONGEST_NAME),
            tickRotate: turned ? -40 : 0,
            tickSize: 0,
            fill: "var(--muted)",
            label: short.of,
            labelAnchor: "right",
            labelArrow: "none",
          }),
          ...marks,
          Plot.text(facets.length > 1 ? facets : [], {
            text: words,
            [across]: (name) => name,
            frameAnchor: "top-left",
            dy: -20,
            dx: 2,
            fontWeight: 600,
            fill: "var(--text)",
          }),
          Plot.tip(placed, Plot.pointerX({ x: "middle", y: "value", title: "title", ...facet })),
        ],
      });
    };
  };

  // Differences between two models with their intervals, a row a place; those that leave out zero are filled.
  // rows: { place, facet, value, low, high, clear, title }
  charts.differences = function (rows, { places, models: [a, b], facets, tickFormat, words = (facet) => facet }) {
    const short = charts.shorten(places.filter((place) => place !== "all"));
    const names = new Map(places.filter((place) => place !== "all").map((place, i) => [place, short.names[i]]));
    const named = (place) => charts.cut(names.get(place) ?? "all layers", 20);
    const known = rows.filter((row) => Number.isFinite(row.value) && Number.isFinite(row.low));
    const colour = (row) => (row.clear ? charts.colour(row.value > 0 ? a : b) : "var(--muted)");
    return (width) => {
      const beside = width >= NARROW && facets.length > 1;
      const across = beside ? "fx" : "fy";
      const facet = { [across]: "facet" };
      const margin = 20 + Math.max(...places.map((place) => named(place).length)) * LETTER;
      const each = places.length * 26 + 40;
      return Plot.plot({
        width,
        height: (beside ? each : each * facets.length) + 50,
        marginLeft: margin,
        marginRight: 14,
        marginTop: 30,
        marginBottom: 34,
        x: { label: null, nice: true },
        y: { domain: places, label: null, padding: 0.4 },
        [across]: { domain: facets, axis: null, padding: beside ? 0.08 : 0.22 },
        marks: [
          Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1, ticks: 5 }),
          Plot.axisX({ ticks: 5, tickSize: 0, tickFormat, fill: "var(--muted)", label: null }),
          Plot.axisY({ tickSize: 0, tickFormat: named, fill: "var(--muted)", label: null }),
          Plot.ruleX([0], { stroke: "var(--text)" }),
          Plot.ruleY(known, { x1: "low", x2: "high", y: "place", stroke: colour, strokeWidth: 2, ...facet }),
          Plot.dot(known, {
            x: "value",
            y: "place",
            r: 5,
            stroke: colour,
            strokeWidth: 2,
            fill: (row) => (row.clear ? colour(row) : "var(--surface)"),
            ...facet,
          }),
          Plot.text(facets, {
            text: words,
            [across]: (name) => name,
            frameAnchor: "top-left",
            dy: -20,
            dx: 2,
            fontWeight: 600,
            fill: "var(--text)",
          }),
          Plot.tip(known, Plot.pointer({ x: "value", y: "place", title: "title", ...facet })),
        ],
      });
    };
  };

  // Points that lead somewhere: rows { x, y, colour, title }; choose(row) is called on a click.
  charts.scatter = function (
    rows,
    { x, y, diagonal, chosen, choose, marks = [], height = 0, xs = {}, ys = {}, gridX = true },
  ) {
    return (width) => {
      const known = rows.filter((row) => Number.isFinite(row.x) && Number.isFinite(row.y));
      const selected = known.filter((row) => row === chosen());
      const picture = Plot.plot({
        width,
        height: height || Math.min(width, 560),
        marginLeft: 56,
        marginBottom: 44,
        marginRight: 16,
        x: { label: x, nice: true, labelArrow: "none", ...xs },
        y: { label: y, nice: true, labelArrow: "none", ...ys },
        marks: [
          Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1, ticks: gridX ? 6 : [] }),
          Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1, ticks: 6 }),
          ...(diagonal ? [Plot.line(diagonal, { stroke: "var(--muted)", strokeDasharray: "4 4" })] : []),
          ...marks,
          Plot.dot(known, {
            x: "x",
            y: "y",
            r: 4,
            fill: "colour",
            fillOpacity: 0.55,
            stroke: "colour",
            strokeOpacity: 0.9,
            strokeWidth: 0.75,
          }),
          Plot.dot(selected, { x: "x", y: "y", r: 8, stroke: "var(--text)", strokeWidth: 2.5 }),
          Plot.tip(known, Plot.pointer({ x: "x", y: "y", title: "title", maxRadius: 24 })),
        ],
      });
      picture.addEventListener("click", () => picture.value && choose(picture.value));
      return picture;
    };
  };
})();
