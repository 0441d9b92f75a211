"use strict";
// A probe's metrics: curves of each model with bands, and the paired differences between two of them.
(function () {
  const app = window.conceptprobe;
  const { element, format, charts } = app;
  // The metrics that docs/probes gives a meaning for all probes.
  const WORDS = {
    correct: "Share of the images whose best class is the right one",
    probability: "Softmax probability of the right class",
    cosine: "Cosine between the image’s embedding, changed and clean",
    r: "Correlation (Pearson) between the numbers of the image’s embedding, changed and clean",
  };
  const MOST_TOGETHER = 4;

  // How many curves share a picture, at most over the metrics.
  app.mostCurves = (probe, chosen) =>
    Math.max(
      0,
      ...probe.metrics.map(
        (metric) =>
          app.splitSeries(
            probe.curves.filter((row) => row.metric === metric),
            chosen,
          ).curves.length,
      ),
    );
  app.canBeTogether = (count) => count > 1 && count <= MOST_TOGETHER;

  // Figures of one metric: curves, and differences where there are two models. None where no chosen series has it.
  app.makeMetric = function (probe, metric, { series, together, pair }) {
    const own = probe.curves.filter((row) => row.metric === metric);
    const curves = makeCurves(probe, metric, own, series, together);
    const figures = curves ? [curves] : [];
    if (pair) {
      const between = probe.differences.filter(
        (row) => row.metric === metric && row.first === pair[0] && row.second === pair[1],
      );
      const differences = makeDifferences(probe, metric, between, series, pair, together);
      if (differences) figures.push(differences);
    }
    return figures;
  };

  /**
   * curves: one panel each or all in one; each with a line for every key of `by`. points: rows of intervals.
   * @param {Probe} probe
   * @param {number} metric
   * @param {ProbeRow[]} rows
   */
  function draw(probe, metric, rows, split, together, { by, look, zero, band, unchanged, rules }) {
    const point = (row) => ({ ...row, ...look(row) });
    const line = (series, i) =>
      by
        .map((key) => {
          const points = rows.filter((row) => row.series === series && key(row)).map(point);
          return {
            points,
            colour: points.length ? points[0].lineColour : "",
            dash: together ? charts.dash(i) : "",
            symbol: charts.symbol(together ? i : 0),
          };
        })
        .filter((own) => own.points.length);
    const axis = (series) => probe.axis(metric, series);
    const panels = together
      ? [{ title: "", x: [...new Set(split.curves.map(axis))].join("; "), lines: split.curves.flatMap(line), rules }]
      : split.curves.map((series) => ({
          title: split.curves.length > 1 ? probe.seriesName(series) : "",
          x: axis(series),
          lines: line(series, 0),
          rules,
        }));
    const draws = [];
    if (split.curves.length) draws.push(charts.panels(panels, { zero, band }));
    const single = [...(split.curves.length ? [] : unchanged), ...split.points];
    if (single.length) {
      const named = single.map((series) => ({
        name: probe.seriesName(series),
        points: rows
          .filter((row) => row.series === series)
          .map((row) => ({ ...point(row), symbol: "circle", slot: by.findIndex((key) => key(row)) })),
      }));
      draws.push(charts.rows(named, { zero }));
    }
    return charts.stack(draws);
  }

  /**
   * @param {Probe} probe
   * @param {number} metric
   * @param {ProbeRow[]} rows
   * @param {number[]} wanted
   * @param {boolean} together
   */
  function makeCurves(probe, metric, rows, wanted, together) {
    const split = app.splitSeries(rows, wanted);
    if (!split.curves.length && !split.points.length) return null;
    const name = probe.texts.metric[metric];
    const models = [...new Set(rows.map((row) => row.model))];
    const clean = rows.filter((row) => row.series === probe.unchanged && !wanted.includes(row.series));
    const shown = rows.filter((row) => wanted.includes(row.series) || clean.includes(row));
    const both = together && app.canBeTogether(split.curves.length);
    const look = (row) => ({
      colour: probe.hue(row.model),
      lineColour: probe.hue(row.model),
      fill: probe.hue(row.model),
      title: probe.say(row, `${probe.name(row.model)}\n${probe.place(row)}\n${name}`, format.plural(row.n, "image")),
    });
    const legend = element(
      "p",
      { class: "legend" },
      models.map((model) => app.probedLabel(probe.models[model])),
      both && split.curves.map((series, i) => sampled(probe, series, i)),
      clean.length > 0 &&
        split.curves.length > 0 &&
        element("span", { class: "sampled" }, charts.sample("5 4", ""), "unchanged images"),
    );
    return charts.make({
      title: name,
      note: `${WORDS[name] ? `${WORDS[name]}. ` : ""}Means over images; ${split.curves.length ? "bands" : "lines"} are 95 % intervals.`,
      label: `${name} by condition for ${models.map(probe.name).join(", ")}, with 95 % intervals. The numbers are in the table below.`,
      legend,
      draw: draw(probe, metric, shown, split, both, {
        by: models.map((model) => (row) => row.model === model),
        look,
        zero: false,
        band: true,
        unchanged: [...new Set(clean.map((row) => row.series))],
        rules: clean.map((row) => ({ value: row.value, colour: probe.hue(row.model) })),
      }),
      table: {
        columns: ["series", probe.axis(metric, wanted[0]), "model", name, "95 % low", "95 % high", "images"],
        rows: shown.map((row) => [
          probe.seriesName(row.series),
          row.x,
          probe.name(row.model),
          row.value,
          row.low,
          row.high,
          row.n,
        ]),
      },
    });
  }

  const sampled = (probe, series, i) =>
    element(
      "span",
      { class: "sampled" },
      charts.sample(charts.dash(i), charts.symbol(i)),
      app.isolate(probe.seriesName(series)),
    );

  /**
   * @param {Probe} probe
   * @param {number} metric
   * @param {ProbeRow[]} rows
   * @param {number[]} wanted
   * @param {[number, number]} pair
   * @param {boolean} together
   */
  function makeDifferences(probe, metric, rows, wanted, [first, second], together) {
    const split = app.splitSeries(rows, wanted);
    if (!split.curves.length && !split.points.length) return null;
    const name = probe.texts.metric[metric];
    const names = [probe.name(first), probe.name(second)];
    const clean = rows.filter((row) => row.series === probe.unchanged && !wanted.includes(row.series));
    const shown = rows.filter((row) => wanted.includes(row.series) || clean.includes(row));
    const clear = (row) => row.low > 0 || row.high < 0;
    const look = (row) => {
      const colour = clear(row) ? probe.hue(row.value > 0 ? first : second) : "var(--muted)";
      return {
        colour,
        lineColour: "var(--muted)",
        fill: clear(row) ? colour : "var(--surface)",
        title: probe.say(
          row,
          `${names.join(" − ")}\n${probe.place(row)}\n${name}`,
          `same ${format.plural(row.n, "image")}`,
        ),
      };
    };
    const both = together && app.canBeTogether(split.curves.length);
    return charts.make({
      title: `${name}: ${charts.cut(names[0], 30)} − ${charts.cut(names[1], 30)}`,
      note: "Paired differences on the same images with 95 % intervals. Above zero: higher in the first. Filled: the interval leaves out zero.",
      label: `Paired differences in ${name} between ${names.join(" and ")}. ${shown.filter(clear).length} of ${shown.length} intervals leave out zero. The numbers are in the table below.`,
      legend: element(
        "p",
        { class: "legend" },
        [first, second].map((model) => app.probedLabel(probe.models[model])),
        both && split.curves.map((series, i) => sampled(probe, series, i)),
      ),
      draw: draw(probe, metric, shown, split, both, {
        by: [() => true],
        look,
        zero: true,
        band: false,
        unchanged: [...new Set(clean.map((row) => row.series))],
        rules: [],
      }),
      table: {
        columns: [
          "series",
          probe.axis(metric, wanted[0]),
          "first − second",
          "difference",
          "95 % low",
          "95 % high",
          "images",
        ],
        rows: shown.map((row) => [
          probe.seriesName(row.series),
          row.x,
          names.join(" − "),
          row.value,
          row.low,
          row.high,
          row.n,
        ]),
      },
    });
  }
})();
