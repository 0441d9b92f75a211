"use strict";
// What becomes of single features: their survival by verdict, and those that survive most and least.
(function () {
  const app = window.conceptprobe;
  const { element, format, isolate, charts } = app;
  const ORDER = ["all", ...Object.keys(app.VERDICTS)];
  const WORDS = {
    overlap: "share of a feature’s top images that stay top images",
    r: "correlation (Pearson) of a feature’s activations over the images, before and after",
  };

  const isDifference = (name) => name.includes(" - ");
  const hue = (name) => (name in app.VERDICTS ? `var(--verdict-${name})` : "var(--text)");
  const symbolOf = (name) => (name === "all" ? "circle" : app.VERDICTS[name]?.marker || "star");
  const meaning = (name) => `${name}${WORDS[name] ? `: ${WORDS[name]}` : ""}.`;
  const rank = (name) => (ORDER.includes(name) ? ORDER.indexOf(name) : ORDER.length);

  app.makeSurvival = function (probe, { series, layer, measure }) {
    const { verdict: verdicts, measure: measures } = probe.texts;
    const rows = probe.survival.filter(
      (row) => row.layer === layer && row.measure === measure && series.includes(row.series),
    );
    if (!rows.length) return [];
    const names = [...new Set(rows.map((row) => verdicts[row.verdict]))].sort((a, b) => rank(a) - rank(b));
    const groups = names.filter((name) => !isDifference(name));
    const differences = names.filter(isDifference);
    const what = measures[measure];
    return [
      makeGroups(probe, rows, groups, what),
      ...differences.map((name) => makeDifference(probe, rows, name, what)),
    ];
  };

  const titleOf = (probe, row, name, what) =>
    probe.say(
      row,
      `${probe.name(row.model)}\n${probe.place(row)}\n${name}, ${what}`,
      format.plural(row.features, "feature"),
    );

  /**
   * @param {Probe} probe
   * @param {ProbeRow[]} rows
   * @param {string} what
   */
  function makeTable(probe, rows, what) {
    return {
      columns: ["series", "x", "model", "verdict", what, "95 % low", "95 % high", "features"],
      rows: rows.map((row) => [
        probe.seriesName(row.series),
        row.x,
        probe.name(row.model),
        probe.texts.verdict[row.verdict],
        row.value,
        row.low,
        row.high,
        row.features,
      ]),
    };
  }

  /**
   * A panel for each series and model, with a line a verdict; without verdicts a panel a series, with a line a model.
   * @param {Probe} probe
   * @param {ProbeRow[]} rows
   * @param {string[]} groups
   * @param {string} what
   */
  function makeGroups(probe, rows, groups, what) {
    const { verdict: verdicts } = probe.texts;
    const kept = rows.filter((row) => groups.includes(verdicts[row.verdict]));
    const models = [...new Set(kept.map((row) => row.model))];
    const split = app.splitSeries(kept, [...new Set(kept.map((row) => row.series))]);
    const byVerdict = groups.length > 1;
    const parts = byVerdict ? models.map((model) => [model]) : [models];
    const colour = (row) => (byVerdict ? hue(verdicts[row.verdict]) : probe.hue(row.model));
    const symbol = (row) => (byVerdict ? symbolOf(verdicts[row.verdict]) : "circle");
    const point = (row) => ({
      ...row,
      colour: colour(row),
      fill: colour(row),
      symbol: symbol(row),
      title: titleOf(probe, row, verdicts[row.verdict], what),
    });
    const keys = byVerdict
      ? groups.map((name) => (row) => verdicts[row.verdict] === name)
      : models.map((model) => (row) => row.model === model);
    const cells = (list) =>
      list.flatMap((series) =>
        parts.map((part) => ({
          series,
          part,
          rows: kept.filter((row) => row.series === series && part.includes(row.model)),
        })),
      );
    const name = ({ series, part }) =>
      [probe.seriesName(series), ...(byVerdict && models.length > 1 ? [probe.name(part[0])] : [])].join(" · ");
    const panels = cells(split.curves).map((cell) => ({
      title: name(cell),
      x: probe.axis(-1, cell.series),
      rules: [],
      lines: keys
        .map((key) => cell.rows.filter(key).map(point))
        .filter((points) => points.length)
        .map((points) => ({
          points,
          colour: points[0].colour,
          symbol: points[0].symbol,
          dash: "",
          wide: verdicts[points[0].verdict] === "all" && byVerdict,
        })),
    }));
    const lines = cells(split.points).map((cell) => ({
      name: name(cell),
      points: cell.rows.map((row) => ({ ...point(row), slot: keys.findIndex((key) => key(row)) })),
    }));
    const draws = [
      ...(panels.length ? [charts.panels(panels, { least: byVerdict ? 320 : undefined })] : []),
      ...(lines.length ? [charts.rows(lines, {})] : []),
    ];
    const legend = byVerdict
      ? groups.map((verdict) => {
          const sample = element("span", { class: "sampled" }, charts.sample("", symbolOf(verdict)), isolate(verdict));
          sample.style.color = hue(verdict);
          return sample;
        })
      : models.map((model) => app.probedLabel(probe.models[model]));
    const figure = charts.make({
      title: byVerdict ? `${what} by verdict` : what,
      note: `${meaning(what)} Means over the features of a verdict with 95 % intervals for other images and other features.${byVerdict ? "" : " Scores (--scores) would split them by verdict."}`,
      label: `Survival of features, ${what}, by condition${byVerdict ? " and verdict" : ""}. The numbers are in the table below.`,
      legend: element("p", { class: "legend" }, legend),
      draw: charts.stack(draws),
      table: makeTable(probe, kept, what),
    });
    figure.classList.toggle("wide", byVerdict && panels.length > 1);
    return figure;
  }

  /**
   * "conceptual - object": a line a model around zero.
   * @param {Probe} probe
   * @param {ProbeRow[]} rows
   * @param {string} name
   * @param {string} what
   */
  function makeDifference(probe, rows, name, what) {
    const kept = rows.filter((row) => probe.texts.verdict[row.verdict] === name);
    const models = [...new Set(kept.map((row) => row.model))];
    const split = app.splitSeries(kept, [...new Set(kept.map((row) => row.series))]);
    const clear = (row) => row.low > 0 || row.high < 0;
    const point = (row) => ({
      ...row,
      colour: probe.hue(row.model),
      fill: clear(row) ? probe.hue(row.model) : "var(--surface)",
      symbol: "circle",
      title: titleOf(probe, row, name, what),
    });
    const panels = split.curves.map((series) => ({
      title: split.curves.length > 1 ? probe.seriesName(series) : "",
      x: probe.axis(-1, series),
      rules: [],
      lines: models.map((model) => ({
        points: kept.filter((row) => row.series === series && row.model === model).map(point),
        colour: probe.hue(model),
        dash: "",
        symbol: "circle",
      })),
    }));
    const lines = split.points.map((series) => ({
      name: probe.seriesName(series),
      points: kept
        .filter((row) => row.series === series)
        .map((row) => ({ ...point(row), slot: models.indexOf(row.model) })),
    }));
    const draws = [
      ...(panels.length ? [charts.panels(panels, { zero: true, band: false })] : []),
      ...(lines.length ? [charts.rows(lines, { zero: true })] : []),
    ];
    const [more, less] = name.split(" - ");
    return charts.make({
      title: `${what}: ${name.replace(" - ", " − ")}`,
      note: `Above zero: ${more} features keep more than ${less} ones. Lines are 95 % intervals; filled where they leave out zero.`,
      label: `Difference in ${what}, ${name}, by condition. ${kept.filter(clear).length} of ${kept.length} intervals leave out zero. The numbers are in the table below.`,
      legend: element(
        "p",
        { class: "legend" },
        models.map((model) => app.probedLabel(probe.models[model])),
      ),
      draw: charts.stack(draws),
      table: makeTable(probe, kept, what),
    });
  }

  /**
   * Where a feature of the result is in the report: its number in the catalogue, or -1.
   * @param {ProbedModel} model
   * @param {string} layer
   * @param {number} feature
   */
  function findFeature(model, layer, feature) {
    const found = app.layers.find(
      (candidate) => model.numbers.includes(candidate.model) && candidate.name === layer && feature < candidate.count,
    );
    return found ? found.start + feature : -1;
  }

  // The features that keep most and least under one condition, by model. catalogue: null without an index.
  app.makeExtremes = function (probe, { at, layer, measure }, catalogue) {
    const entries = probe.extremes.filter(
      (row) => row.layer === layer && row.measure === measure && `${row.series}:${row.x}` === at,
    );
    return entries.map((row) => {
      const model = probe.models[row.model];
      const lists = [
        ["most", "Survive most"],
        ["least", "Survive least"],
      ].map(([end, words]) =>
        element(
          "section",
          {},
          element("h4", { text: words }),
          element(
            "ol",
            { class: "survivors" },
            row[end].map(([feature, value, verdict]) =>
              element(
                "li",
                {},
                element("b", { class: "kept", text: format.number(value) }),
                makeFeature(
                  model,
                  probe.texts.layer[layer],
                  feature,
                  verdict < 0 ? null : probe.texts.verdict[verdict],
                  catalogue,
                ),
              ),
            ),
          ),
        ),
      );
      const panel = element(
        "article",
        { class: "extreme panel" },
        element(
          "h3",
          {},
          app.probedLabel(model),
          element("span", { class: "of", text: ` of ${format.plural(row.features, "feature")}` }),
        ),
        element("div", { class: "ends" }, lists),
      );
      panel.dataset.model = String(model.colour % 6);
      return panel;
    });
  };

  /**
   * @param {ProbedModel} model
   * @param {string} layer
   * @param {number} feature
   * @param {Verdict | null} verdict
   * @param {Catalogue | null} catalogue
   */
  function makeFeature(model, layer, feature, verdict, catalogue) {
    const g = catalogue ? findFeature(model, layer, feature) : -1;
    if (catalogue && g >= 0) return app.featureLine(catalogue, g, { verdict: verdict || undefined });
    return element(
      "div",
      { class: "line-head" },
      isolate(`${layer}:${feature}`, "mono"),
      verdict && app.verdictBadge(verdict),
    );
  }
})();
