"use strict";
// A probe's result as its page reads it: rows as objects, points in words.
(function () {
  const app = window.conceptprobe;
  const { format, charts } = app;
  const CURVE = ["model", "metric", "series", "x", "value", "low", "high", "n"];
  const DIFFERENCE = ["first", "second", "metric", "series", "x", "value", "low", "high", "n"];
  const SURVIVAL = ["model", "layer", "verdict", "series", "x", "measure", "value", "low", "high", "features"];
  const DECIMAL = new Set(["x", "value", "low", "high"]);

  const objects = (names, rows) => rows.map((row) => Object.fromEntries(names.map((name, i) => [name, row[i] === null && DECIMAL.has(name) ? NaN : row[i]])));
  const unique = (values) => [...new Set(values)];

  app.readProbe = function (data) {
    const curves = objects(CURVE, data.curves);
    const differences = objects(DIFFERENCE, data.differences);
    const survival = objects(SURVIVAL, data.survival);
    const { texts } = data;
    const probe = { ...data, curves, differences, survival };
    probe.metrics = unique([...curves, ...differences].map((row) => row.metric));
    // The unchanged images are no curve of their own, but where there is nothing else.
    const all = unique([...curves, ...differences, ...survival].map((row) => row.series)).filter((series) => series >= 0);
    probe.series = all.length > 1 ? all.filter((series) => series !== data.unchanged) : all;
    probe.pairs = unique(differences.map((row) => `${row.first}-${row.second}`)).map((pair) => pair.split("-").map(Number));
    probe.layers = unique(survival.map((row) => row.layer));
    probe.measures = unique(survival.map((row) => row.measure));
    probe.hue = (model) => charts.hue(data.models[model].colour);
    probe.name = (model) => data.models[model].label;
    probe.axis = (metric, series) => data.axes.metric[metric] || data.axes.series[series] || data.axes.other || "x";
    probe.seriesName = (series) => (series < 0 ? "all" : texts.series[series]);
    const places = new Map(all.map((series) => [series, new Set()]));
    for (const row of [...curves, ...differences, ...survival, ...data.extremes]) places.get(row.series)?.add(row.x);
    // "random, share of patches dropped 0.5"; without x where a series has one place only that has no name.
    probe.place = function (row) {
      const axis = probe.axis(row.metric, row.series);
      const told = row.series !== data.unchanged && (axis !== "x" || (places.get(row.series) || new Set()).size > 1);
      return `${probe.seriesName(row.series)}${told ? `, ${axis} ${format.number(row.x)}` : ""}`;
    };
    probe.say = (row, what, of) => `${what}: ${format.number(row.value)}${Number.isFinite(row.low) ? ` (95 %: ${format.number(row.low)} to ${format.number(row.high)})` : ""}\n${of}`;
    return probe;
  };

  // Which series of some rows are curves (several x) and which are single points; in the order that is asked for.
  app.splitSeries = function (rows, wanted) {
    const own = new Map(wanted.map((series) => [series, new Set()]));
    for (const row of rows) own.get(row.series)?.add(row.x);
    const there = wanted.filter((series) => own.get(series).size);
    return { curves: there.filter((series) => own.get(series).size > 1), points: there.filter((series) => own.get(series).size === 1) };
  };
})();
