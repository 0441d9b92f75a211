"use strict";
// What the overview's charts show: shares by layer and model with their intervals, from a contrast where there is one.
(function () {
  const app = window.conceptprobe;
  const { format } = app;
  const Z = 1.959964; // 97.5 % quantile of the normal distribution
  app.measures = /** @type {Measures} */ ({});
  const { measures } = app;

  // Wilson's interval (1927) of a share, 95 %.
  measures.wilson = function (count, of) {
    if (!of) return [NaN, NaN];
    const share = count / of;
    const centre = share + Z ** 2 / (2 * of);
    const half = Z * Math.sqrt((share * (1 - share)) / of + Z ** 2 / (4 * of ** 2));
    const scale = 1 + Z ** 2 / of;
    return [Math.max(0, (centre - half) / scale), Math.min(1, (centre + half) / scale)];
  };

  const known = (value) => (value === null || value === undefined ? NaN : value);
  const label = (model) => app.report.models[model].label;
  const between = (row, show) => `${show(row.value)} (95 %: ${show(row.low)} to ${show(row.high)})`;

  // Layers of all models, each name once, in the order of the models.
  measures.layerNames = () => [...new Set(app.layers.map((layer) => layer.name))];
  measures.scored = () =>
    app.report.models.flatMap((model, m) => (model.layers.some((layer) => layer.verdicts) ? [m] : []));

  // Features of each verdict in a layer; without scores only the dead ones are known.
  measures.counts = (layer) => layer.verdicts || { dead: layer.dead };

  // A contrast that has all scored models: its intervals are for other images and other features.
  measures.contrastOfAll = (contrasts) =>
    contrasts.find((own) => measures.scored().every((m) => own.models.includes(m))) || null;

  // Rows for charts.byLayer: the share of tested features with each verdict.
  measures.verdicts = function (contrast) {
    const rows = contrast ? ofContrast(contrast, app.POSITIVE) : ofLayers();
    for (const row of rows) {
      row.title = `${label(row.model)}, ${row.place}\n${row.facet}: ${between(row, app.charts.percent)}\nof ${format.count(row.counted)} tested features`;
    }
    return { rows, places: contrast ? contrast.place_names : measures.layerNames() };
  };

  /**
   * @param {ContrastData} contrast
   * @param {string[]} wanted
   */
  function ofContrast(contrast, wanted) {
    return contrast.models_table
      .filter((row) => row.model >= 0 && row.place !== "all" && wanted.includes(row.measure))
      .map((row) => ({
        ...row,
        facet: row.measure,
        value: known(row.value),
        low: known(row.low),
        high: known(row.high),
        title: "",
      }));
  }

  function ofLayers() {
    return app.layers
      .filter((layer) => layer.verdicts)
      .flatMap((layer) =>
        app.POSITIVE.map((facet) => {
          const count = layer.verdicts?.[facet] ?? 0;
          const counted = layer.tested ?? 0;
          const [low, high] = measures.wilson(count, counted);
          return {
            model: layer.model,
            place: layer.name,
            facet,
            value: count / counted,
            low,
            high,
            counted,
            title: "",
          };
        }),
      );
  }

  // The mean abstraction of the features that are object or conceptual.
  measures.abstraction = function (contrast, catalogue) {
    const rows = contrast
      ? ofContrast(contrast, ["abstraction"])
      : catalogue
        ? app.layers.filter((layer) => layer.verdicts).map((layer) => meanAbstraction(layer, catalogue))
        : [];
    for (const row of rows) {
      row.title = `${label(row.model)}, ${row.place}\nmean abstraction ${between(row, (value) => format.number(value, 2))}\nof ${format.count(row.counted)} features`;
    }
    return { rows, places: contrast ? contrast.place_names : measures.layerNames() };
  };

  /**
   * @param {Layer} layer
   * @param {Catalogue} catalogue
   */
  function meanAbstraction(layer, catalogue) {
    const values = [];
    for (let g = layer.start; g < layer.start + layer.count; g++) {
      const value = catalogue.number("abstraction", g);
      if (app.ONE_CONCEPT.includes(catalogue.verdict(g)) && !Number.isNaN(value)) values.push(value);
    }
    const mean = values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : NaN;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (values.length - 1);
    const half = values.length > 1 ? Z * Math.sqrt(variance / values.length) : NaN;
    const [low, high] = [Math.max(0, mean - half), Math.min(1, mean + half)];
    return {
      model: layer.model,
      place: layer.name,
      facet: "abstraction",
      value: mean,
      low,
      high,
      counted: values.length,
      title: "",
    };
  }

  // Dead features, and those whose lists cannot be tested, as shares of all features.
  measures.silent = function () {
    const rows = app.layers.flatMap((layer) => {
      const row = (facet, count) => {
        const [low, high] = measures.wilson(count, layer.width);
        const shares = { value: count / layer.width, low, high };
        const title = `${label(layer.model)}, ${layer.name}\n${facet}: ${format.count(count)} of ${format.count(layer.width)}\n${between(shares, app.charts.percent)}`;
        return { model: layer.model, place: layer.name, facet, ...shares, counted: layer.width, title };
      };
      return Object.entries(measures.counts(layer))
        .filter(([facet]) => !app.TESTED.includes(facet))
        .map(([facet, count]) => row(facet, count));
    });
    return { rows, places: measures.layerNames() };
  };

  // Rows for charts.differences: what a contrast says of one measure after the other.
  measures.differences = function (contrast, other, wanted) {
    return contrast.differences
      .filter((row) => row.model_b === other && wanted.includes(row.measure))
      .map((row) => {
        const [value, low, high] = [known(row.difference), known(row.low), known(row.high)];
        const clear = low > 0 || high < 0;
        const scale = row.measure === "abstraction" ? 1 : 100;
        const show = (number) => format.number(scale * number, 2);
        const means = [row.a, row.b].map((mean) =>
          scale === 1 ? format.number(mean, 2) : app.charts.percent(mean ?? NaN),
        );
        const title =
          `${row.place === "all" ? "all layers" : row.place}, ${row.measure}\n` +
          `${label(row.model_a)} ${means[0]}, ${label(row.model_b)} ${means[1]}\n` +
          `difference ${show(value)}${scale === 1 ? "" : " points"} (95 %: ${show(low)} to ${show(high)})` +
          (row.p === null ? "" : `\nin like strata p ${format.p(row.p)}, q ${format.p(row.q)}`);
        return { ...row, facet: row.measure, value, low, high, clear, title };
      });
  };

  // The table behind rows of shares or means.
  measures.table = (rows, what) => ({
    columns: ["layer", "model", what, "value", "95 % low", "95 % high", "of features"],
    rows: rows.map((row) => [row.place, label(row.model), row.facet, row.value, row.low, row.high, row.counted]),
  });
})();
