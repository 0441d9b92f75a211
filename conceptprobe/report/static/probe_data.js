"use strict";
// A probe's result as its page reads it: rows as objects, points in words.
(function () {
  const app = window.conceptprobe;
  const { format, charts } = app;
  const CURVE = ["model", "metric", "series", "x", "value", "low", "high", "n"];
  const DIFFERENCE = ["first", "second", "metric", "series", "x", "value", "low", "high", "n"];
  const SURVIVAL = ["model", "layer", "verdict", "series", "x", "measure", "value", "low", "high", "features"];
  const DECIMAL = new Set(["x", "value", "low", "high"]);

  const objects = (names, rows) =>
    rows.map((row) =>
      Object.fromEntries(names.map((name, i) => [name, row[i] === null && DECIMAL.has(name) ? NaN : row[i]])),
    );
  const unique = (values) => [...new Set(values)];

  app.readProbe = function (data) {
    const curves = objects(CURVE, data.curves);
    const differences = objects(DIFFERENCE, data.differences);
    const survival = objects(SURVIVAL, data.survival);
    const { texts } = data;
    // The unchanged images are no curve of their own, but where there is nothing else.
    const all = unique([...curves, ...differences, ...survival].map((row) => row.series)).filter(
      (series) => series >= 0,
    );
    const axisOf = (metric, series) => data.axes.metric[metric] || data.axes.series[series] || data.axes.other || "x";
    const seriesName = (series) => (series < 0 ? "all" : texts.series[series]);
    const places = new Map(all.map((series) => [series, new Set()]));
    for (const row of [...curves, ...differences, ...survival, ...data.extremes]) places.get(row.series)?.add(row.x);
    return {
      ...data,
      curves,
      differences,
      survival,
      metrics: unique([...curves, ...differences].map((row) => row.metric)),
      series: all.length > 1 ? all.filter((series) => series !== data.unchanged) : all,
      pairs: [...new Map(differences.map(({ first, second }) => [`${first}-${second}`, [first, second]])).values()],
      layers: unique(survival.map((row) => row.layer)),
      measures: unique(survival.map((row) => row.measure)),
      hue: (model) => charts.hue(data.models[model].colour),
      name: (model) => data.models[model].label,
      axis: axisOf,
      seriesName,
      // "random, share of patches dropped 0.5"; without x where a series has one place only that has no name.
      place(row) {
        const axis = axisOf(row.metric, row.series);
        const told = row.series !== data.unchanged && (axis !== "x" || (places.get(row.series) || new Set()).size > 1);
        return `${seriesName(row.series)}${told ? `, ${axis} ${format.number(row.x)}` : ""}`;
      },
      say: (row, what, of) =>
        `${what}: ${format.number(row.value)}${Number.isFinite(row.low) ? ` (95 %: ${format.number(row.low)} to ${format.number(row.high)})` : ""}\n${of}`,
    };
  };

  // Which series of some rows are curves (several x) and which are single points; in the order that is asked for.
  app.splitSeries = function (rows, wanted) {
    const count = (series) => new Set(rows.filter((row) => row.series === series).map((row) => row.x)).size;
    return {
      curves: wanted.filter((series) => count(series) > 1),
      points: wanted.filter((series) => count(series) === 1),
    };
  };
})();
