"use strict";
// Charts of a probe: lines over a condition with bands, in panels beside each other; and points with intervals in rows.
(function () {
  const app = window.conceptprobe;
  const { element, format, charts } = app;
  const LEAST = 230; // px, a panel's width, where no other is asked for
  const GAP = 14;
  const ROW = 24; // px, a row of points
  const LETTER = 6.4; // px
  const LONGEST = 34; // letters of a row's name
  const MOST_TICKS = 7;
  const BESIDE = 7; // px between intervals at one x
  const DASHES = ["", "7 4", "2 3", "9 3 2 3"];
  const SYMBOLS = ["circle", "square", "triangle", "diamond"];

  charts.hue = (colour) => `var(--model-${colour % 6})`;
  charts.dash = (i) => DASHES[i % DASHES.length];
  charts.symbol = (i) => SYMBOLS[i % SYMBOLS.length];

  // A sample of a line, with a point or without, for legends.
  charts.sample = function (dash, symbol) {
    const space = "http://www.w3.org/2000/svg";
    const svg = document.createElementNS(space, "svg");
    svg.setAttribute("class", "sample");
    svg.setAttribute("viewBox", "0 0 34 12");
    svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS(space, "path");
    line.setAttribute("d", "M1 6H33");
    line.setAttribute("stroke-dasharray", dash);
    const point = document.createElementNS(space, "path");
    if (symbol) point.setAttribute("d", d3.symbol(d3[`symbol${symbol[0].toUpperCase()}${symbol.slice(1)}`], 38)());
    point.setAttribute("transform", "translate(17 6)");
    point.setAttribute("class", "point");
    svg.append(line, ...(symbol ? [point] : []));
    return svg;
  };

  const numbersOf = (lines) =>
    lines.flatMap((line) => line.points.flatMap((point) => [point.value, point.low, point.high]));

  // One range for all panels, with a little room; from zero where the values come near it.
  function sharedRange(panels, zero) {
    const values = [
      ...panels.flatMap((panel) => [...numbersOf(panel.lines), ...panel.rules.map((rule) => rule.value)]),
      ...(zero ? [0] : []),
    ];
    let [low, high] = d3.extent(values.filter(Number.isFinite));
    if (low === undefined) return [0, 1];
    if (low >= 0 && low < 0.5 * high) low = 0;
    if (low === high) [low, high] = [low - 0.5, high + 0.5];
    return d3.scaleLinear([low, high], [0, 1]).nice(5).domain();
  }

  // Steps that grow with x are shown by their logarithms.
  function isGeometric(xs) {
    if (xs.length < 3 || xs[0] <= 0 || xs[xs.length - 1] / xs[0] < 8) return false;
    const spread = (values) => d3.deviation(values) / d3.mean(values);
    const steps = d3.pairs(xs, (a, b) => b - a);
    const ratios = d3.pairs(xs, (a, b) => Math.log(b / a));
    return steps.length < 2 || spread(ratios) < spread(steps);
  }

  // panels: { title, x (words), lines, rules: [{ value, colour }] }; lines: { points, colour, dash, symbol, wide };
  // points: { x, value, low, high, colour, fill, title }. band: intervals as bands, else as lines in the points’ colours.
  charts.panels = function (panels, { zero = false, band = true, least = LEAST }) {
    const range = sharedRange(panels, zero);
    return (width) => {
      const columns = Math.max(1, Math.min(panels.length, Math.floor((width + GAP) / (least + GAP))));
      const each = Math.floor((width - GAP * (columns - 1)) / columns);
      const grid = element("div", { class: "panels" });
      grid.style.gridTemplateColumns = `repeat(${columns}, minmax(0, 1fr))`;
      for (const panel of panels) {
        const title =
          panel.title && element("p", { class: "panel-title", title: panel.title }, app.isolate(panel.title, "clip"));
        grid.append(element("div", {}, title, drawPanel(panel, each, range, zero, band)));
      }
      return grid;
    };
  };

  function drawPanel({ lines, rules, x: words }, width, range, zero, band) {
    const xs = [...new Set(lines.flatMap((line) => line.points.map((point) => point.x)))]
      .filter(Number.isFinite)
      .sort((a, b) => a - b);
    const log = isGeometric(xs);
    const room = Math.max(
      2,
      Math.floor((width - 70) / (Math.max(...xs.map((x) => format.number(x).length), 1) * LETTER + 10)),
    );
    const ticks =
      xs.length <= Math.min(room, log ? 12 : MOST_TICKS)
        ? xs
        : log
          ? xs.filter((_, i) => i % Math.ceil(xs.length / room) === 0)
          : Math.min(room, 5);
    const all = lines.flatMap((line) => line.points);
    return Plot.plot({
      width,
      height: Math.round(Math.max(190, Math.min(330, width * 0.62))),
      marginLeft: 46,
      marginRight: 14,
      marginTop: 12,
      marginBottom: 40,
      x: {
        type: log ? "log" : "linear",
        domain: xs.length > 1 ? [xs[0], xs[xs.length - 1]] : undefined,
        inset: 6,
        label: null,
      },
      y: { domain: range, label: null },
      marks: [
        Plot.gridY({ stroke: "var(--line)", strokeOpacity: 1, ticks: 5 }),
        Plot.axisY({
          ticks: 5,
          tickSize: 0,
          tickFormat: (value) => format.number(value),
          fill: "var(--muted)",
          label: null,
        }),
        Plot.axisX({
          ticks,
          tickSize: 0,
          tickFormat: (value) => format.number(value),
          fill: "var(--muted)",
          label: charts.cut(words, Math.max(8, Math.floor(width / LETTER) - 8)),
          labelAnchor: "center",
          labelArrow: "none",
          labelOffset: 34,
        }),
        ...(zero ? [Plot.ruleY([0], { stroke: "var(--text)" })] : []),
        Plot.ruleY(rules, {
          y: "value",
          stroke: "colour",
          strokeDasharray: "5 4",
          strokeWidth: 1.5,
          strokeOpacity: 0.85,
        }),
        ...lines.flatMap((line, i) => drawLine(line, band, lines.length, i)),
        Plot.tip(all, Plot.pointer({ x: "x", y: "value", title: "title", maxRadius: 60 })),
      ],
    });
  }

  function drawLine({ points, colour, dash, symbol, wide }, band, lines, at) {
    const dx = band ? 0 : BESIDE * (at - (lines - 1) / 2); // intervals at one x beside each other
    const known = points.filter((point) => Number.isFinite(point.value)).sort((a, b) => a.x - b.x);
    const alone = known.length === 1;
    const intervals = known.filter((point) => Number.isFinite(point.low));
    return [
      band && !alone
        ? Plot.areaY(known, { x: "x", y1: "low", y2: "high", fill: colour, fillOpacity: lines > 3 ? 0.1 : 0.16 })
        : Plot.ruleX(intervals, { x: "x", y1: "low", y2: "high", stroke: "colour", strokeWidth: 2, dx }),
      Plot.line(known, {
        x: "x",
        y: "value",
        stroke: colour,
        strokeWidth: band ? (wide ? 3 : 2) : 1,
        strokeOpacity: band ? 1 : 0.5,
        strokeDasharray: dash || undefined,
        dx,
      }),
      Plot.dot(known, {
        x: "x",
        y: "value",
        symbol,
        r: known.length > 24 ? 2 : 4,
        fill: "fill",
        stroke: band ? "var(--surface)" : "colour",
        strokeWidth: band ? 0.75 : 1.75,
        dx,
      }),
    ];
  }

  // rows: { name, points: [{ value, low, high, colour, fill, symbol, title }] }, one below the other.
  charts.rows = function (rows, { zero = false, x = "" }) {
    const most = Math.max(1, ...rows.map((row) => row.points.length));
    const placed = rows.flatMap((row, at) =>
      row.points
        .filter((point) => Number.isFinite(point.value))
        .map((point) => ({ ...point, y: at + (point.slot + 0.5) / most / 1.3 - 0.5 / 1.3 })),
    );
    const ends = d3.extent(
      [...placed.flatMap((point) => [point.value, point.low, point.high]), ...(zero ? [0] : [])].filter(
        Number.isFinite,
      ),
    );
    const domain = ends[0] === undefined ? [0, 1] : ends[0] === ends[1] ? [ends[0] - 0.5, ends[1] + 0.5] : ends;
    return (width) => {
      const longest = Math.max(...rows.map((row) => Math.min(row.name.length, LONGEST)));
      const margin = Math.min(width * 0.45, 16 + longest * LETTER);
      const letters = Math.floor((margin - 16) / LETTER);
      const bySymbol = d3.group(placed, (point) => point.symbol);
      return Plot.plot({
        width,
        height: rows.length * Math.max(ROW, most * 13) + 60,
        marginLeft: margin,
        marginRight: 16,
        marginTop: 10,
        marginBottom: 40,
        x: { label: null, nice: true, domain },
        y: { domain: [rows.length - 0.5, -0.5], label: null },
        marks: [
          Plot.gridX({ stroke: "var(--line)", strokeOpacity: 1, ticks: 5 }),
          Plot.axisX({
            ticks: Math.max(2, Math.min(6, Math.floor((width - margin) / 60))),
            tickSize: 0,
            tickFormat: (value) => format.number(value),
            fill: "var(--muted)",
            label: x,
            labelAnchor: "center",
            labelArrow: "none",
            labelOffset: 34,
          }),
          Plot.axisY(d3.range(rows.length), {
            tickSize: 0,
            tickFormat: (at) => charts.cut(rows[at].name, Math.max(4, letters)),
            fill: "var(--muted)",
            label: null,
          }),
          ...(zero ? [Plot.ruleX([0], { stroke: "var(--text)" })] : []),
          Plot.ruleY(
            placed.filter((point) => Number.isFinite(point.low)),
            { x1: "low", x2: "high", y: "y", stroke: "colour", strokeWidth: 2 },
          ),
          ...[...bySymbol].map(([symbol, points]) =>
            Plot.dot(points, { x: "value", y: "y", symbol, r: 4.5, fill: "fill", stroke: "colour", strokeWidth: 1.75 }),
          ),
          Plot.tip(placed, Plot.pointer({ x: "value", y: "y", title: "title", maxRadius: 40 })),
        ],
      });
    };
  };

  // Two pictures one below the other.
  charts.stack = (draws) => (width) =>
    element(
      "div",
      { class: "stacked" },
      draws.map((draw) => draw(width)),
    );
})();
