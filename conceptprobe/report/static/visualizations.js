"use strict";
// Images that were optimised to activate a feature, with what they reach.
(function () {
  const app = window.conceptprobe;
  const { element, format } = app;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");

  app.makeVisualizations = function (feature) {
    if (!feature.visualizations.length) return null;
    const shown = element(
      "div",
      { class: "visualizations" },
      feature.visualizations.map((record) => makeVisualization(record)),
    );
    return element(
      "section",
      { class: "panel", "aria-labelledby": "visualization-title" },
      element("h2", {
        id: "visualization-title",
        text: feature.visualizations.length > 1 ? "Visualizations" : "Visualization",
      }),
      element("p", { class: "aside", text: "Optimised to activate the feature; not an image of the source." }),
      shown,
    );
  };

  /** @param {Visualization} record */
  function makeVisualization(record) {
    const [height, width] = record.size;
    const words = `Visualization of ${record.target}, ${presetName(record)}, seed ${record.seed}`;
    const image = element("img", { src: `vis/${record.n}.webp`, width, height, alt: words, loading: "lazy" });
    const picture = element("span", { class: "optimised" }, image);
    if (record.animation) picture.append(makePlayer(record, image));
    return element("figure", {}, picture, element("figcaption", {}, makeFacts(record), makeLine(record)));
  }

  const presetName = ({ preset }) => (preset && typeof preset === "object" ? preset.name : preset) || "";

  /**
   * Plays only when asked to where motion is not wanted.
   * @param {Visualization} record
   */
  function makePlayer(record, image) {
    const button = element("button", { type: "button", class: "small play" });
    let playing = !still.matches;
    const update = () => {
      image.src = playing ? `vis/${record.n}-animation.webp` : `vis/${record.n}.webp`;
      button.textContent = playing ? "Pause" : "Play";
      button.setAttribute("aria-label", `${playing ? "Pause" : "Play"} how it came about`);
    };
    button.addEventListener("click", () => {
      playing = !playing;
      update();
    });
    update();
    return button;
  }

  /** @param {Visualization} record */
  function makeFacts(record) {
    const list = element("dl", { class: "facts" });
    const add = (name, value, title) =>
      list.append(element("div", { title }, element("dt", { text: name }), element("dd", { text: value })));
    const { natural } = record;
    add("activation", format.number(record.activation), "of the saved image");
    if (natural) {
      add(
        "natural best",
        format.number(natural.maximum),
        `largest activation of ${format.count(natural.images)} images`,
      );
      add(
        "above",
        record.exceeds ? "all of them" : format.share(natural.quantile),
        "share of the natural images with a lower activation",
      );
      add("z", format.number(natural.z), "standard deviations of the natural activations above their mean");
      if (natural.rank !== null)
        add("rank", `${natural.rank} of ${natural.of}`, "among the features of the layer, by z");
    }
    add(
      "by",
      [presetName(record), record.pooling, `${record.steps} steps`, `seed ${record.seed}`].filter(Boolean).join(", "),
      "",
    );
    if (record.stopped !== null && record.stopped !== undefined)
      add("stopped", `at step ${record.stopped}`, "the loss was no longer finite");
    return list;
  }

  /**
   * The objective over the steps, as a line without axes; its ends are said.
   * @param {Visualization} record
   */
  function makeLine({ curve }) {
    const values = curve.filter((value) => value !== null);
    if (values.length < 2) return null;
    const [low, high] = [Math.min(...values), Math.max(...values)];
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("viewBox", "0 0 100 24");
    svg.setAttribute("preserveAspectRatio", "none");
    svg.setAttribute("class", "spark");
    svg.setAttribute("role", "img");
    svg.setAttribute(
      "aria-label",
      `Objective from ${format.number(values[0])} to ${format.number(values.at(-1))} over the steps`,
    );
    const line = document.createElementNS("http://www.w3.org/2000/svg", "polyline");
    line.setAttribute(
      "points",
      values
        .map(
          (value, i) =>
            `${(100 * i) / (values.length - 1)},${high > low ? 23 - (22 * (value - low)) / (high - low) : 12}`,
        )
        .join(" "),
    );
    svg.append(line);
    return svg;
  }
})();
