"use strict";
// How a feature's activations are spread over all images, and where its thresholds lie.
(function () {
  const app = window.conceptprobe;
  const { format } = app;

  app.makeHistogram = function (feature) {
    const { stats, layer } = feature;
    if (!Number.isFinite(stats.min) || !Number.isFinite(stats.max) || stats.max <= stats.min) return null;
    const bins = feature.histogram ? countBins(stats, feature.histogram.counts) : quantileBins(stats);
    if (!bins.length) return null;
    const rules = thresholds(feature);
    const note = feature.histogram
      ? `${format.count(feature.histogram.images)} images, ${bins.length} equal bins; the height is on a square root ` +
        "scale, so that rare images show."
      : "Drawn from the quantiles that the index keeps: each bar holds the share of images between two of them.";
    const words = rules.map(({ words: name, x }) => `${name} ${format.number(x)}`).join(", ");
    const quantiles = stats.levels.map((level, i) => [`quantile ${level}`, null, stats.quantiles[i], null]);
    return app.charts.make({
      title: "Activations",
      note,
      label: `Histogram of activations from ${format.number(stats.min)} to ${format.number(stats.max)}; ${words}`,
      draw: (width) => draw(width, bins, rules, Boolean(feature.histogram)),
      table: {
        columns: ["", "from", "to", feature.histogram ? "images" : "share per unit"],
        rows: [
          ...bins.map(({ from, to, height }, i) => [`bin ${i + 1}`, from, to, height]),
          ...rules.map(({ words: name, x }) => [name, null, x, null]),
          ...quantiles,
          ["fires", null, stats.firing_rate, null],
          [`above the ${layer.high ? "layer's " : ""}high threshold`, null, stats.high_rate, null],
        ],
      },
      least: 240,
    });
  };

  /**
   * @param {FeatureStats} stats
   * @param {number[]} counts
   */
  function countBins(stats, counts) {
    const step = (stats.max - stats.min) / counts.length;
    return counts.map((height, i) => ({
      from: stats.min + i * step,
      to: stats.min + (i + 1) * step,
      height,
    }));
  }

  /** @param {FeatureStats} stats */
  function quantileBins(stats) {
    const shares = [0, ...stats.levels, 1];
    const edges = [stats.min, ...stats.quantiles, stats.max];
    const bins = [];
    for (let i = 0; i + 1 < edges.length; i++) {
      const width = edges[i + 1] - edges[i];
      if (width > 0) bins.push({ from: edges[i], to: edges[i + 1], height: (shares[i + 1] - shares[i]) / width });
    }
    return bins;
  }

  /**
   * What the numbers of the page are counted against.
   * @param {Feature} feature
   */
  function thresholds({ stats, layer, lists, model, scores }) {
    const rules = [];
    if (stats.min <= 0 && stats.max > 0) rules.push({ words: "fires above 0", x: 0 });
    const high = layer.high[model.pooling];
    if (high !== null && high < stats.max) rules.push({ words: "layer's 95 %", x: high });
    const { entries } = lists[0];
    const k = scores ? scores.k : null;
    if (k && entries.length >= k) rules.push({ words: `top ${k} from`, x: entries[k - 1].value });
    return rules.filter(({ x }) => x >= stats.min && x <= stats.max);
  }

  // 1, 10, 100, … as far apart as a square root scale shows them.
  function powers(most) {
    const found = [];
    for (let power = 1; power <= most; power *= 10)
      if (Math.sqrt(power / most) > 0.12) found.push(power, ...(5 * power <= most ? [5 * power] : []));
    return found;
  }

  function draw(width, bins, rules, counted) {
    const ticks = counted ? powers(Math.max(...bins.map(({ height }) => height))) : [];
    return Plot.plot({
      width,
      height: 190,
      marginLeft: 42,
      marginRight: 10,
      marginTop: 18 + 13 * rules.length,
      marginBottom: 34,
      x: { label: null },
      y: { type: counted ? "sqrt" : "linear", label: null, axis: null },
      marks: [
        Plot.gridY(ticks, { stroke: "var(--line)", strokeOpacity: 1 }),
        Plot.axisY(ticks, { tickSize: 0, fill: "var(--muted)", label: null }),
        Plot.axisX({ ticks: 5, tickSize: 0, fill: "var(--muted)", label: "activation", labelArrow: "none" }),
        Plot.rect(bins, {
          x1: "from",
          x2: "to",
          y1: 0,
          y2: "height",
          fill: "var(--model)",
          insetLeft: 0.5,
          insetRight: 0.5,
        }),
        Plot.ruleY([0], { stroke: "var(--muted)" }),
        Plot.ruleX(rules, { x: "x", stroke: "var(--text)", strokeDasharray: "3 3" }),
        ...rules.map((rule, i) => {
          const right = rule.x > (bins[0].from + bins.at(-1).to) / 2;
          return Plot.text([rule], {
            x: "x",
            text: "words",
            frameAnchor: "top",
            dy: -4 - 13 * i,
            lineAnchor: "bottom",
            dx: right ? -3 : 3,
            textAnchor: right ? "end" : "start",
            fill: "var(--text)",
          });
        }),
        Plot.tip(
          bins,
          Plot.pointerX({
            x: (bin) => (bin.from + bin.to) / 2,
            y: "height",
            title: (bin) =>
              `${format.number(bin.from)} to ${format.number(bin.to)}\n${counted ? format.plural(bin.height, "image") : ""}`,
          }),
        ),
      ],
    });
  }
})();
