"use strict";
// What else a probe left: pictures and maps with their scale, published figures, and its tables as files.
(function () {
  const app = window.conceptprobe;
  const { element, format, isolate } = app;
  const KINDS = {
    linear: "linear scale",
    log: "logarithmic scale",
    diverging: "linear scale with 0 in the middle",
  };

  // A figure for each artifact, its pictures by model.
  app.makeArtifacts = (probe) => probe.artifacts.map((artifact) => makeArtifact(probe, artifact));

  /**
   * @param {Probe} probe
   * @param {Artifact} artifact
   */
  function makeArtifact(probe, { name, scale, models }) {
    const parts = models.map((entry) => {
      const count = entry.files.flat().length;
      const rows = entry.files.map((files, row) =>
        element(
          "div",
          { class: `pictures${scale ? " maps" : ""}` },
          files.map((file, column) => makePicture(file, entry, `${name}, ${position(entry, row, column)}`)),
        ),
      );
      const words = entry.files.length
        ? `${entry.shape.join(" × ")}${count < entry.pictures ? `; ${format.count(count)} of ${format.count(entry.pictures)} pictures` : ""}`
        : `an array of ${entry.shape.join(" × ") || "one number"} (${entry.type}), which has the shape of no picture`;
      return element(
        "div",
        { class: "by-model" },
        element(
          "p",
          { class: "whose" },
          entry.model >= 0 && app.probedLabel(probe.models[entry.model]),
          element("span", { class: "of", text: words }),
        ),
        rows,
      );
    });
    return element(
      "figure",
      { class: "artifact panel" },
      element("figcaption", {}, element("h3", {}, isolate(name)), scale && makeScale(scale, models.length)),
      element("div", { class: "artifact-models" }, parts),
    );
  }

  const position = (entry, row, column) =>
    entry.files.length > 1
      ? `row ${row + 1}, picture ${column + 1}`
      : `picture ${column + 1} of ${entry.files[0].length}`;

  /**
   * @param {string} file
   * @param {ArtifactOfModel} entry
   * @param {string} words
   */
  function makePicture(file, { size }, words) {
    const [height, width] = size;
    return element("img", { src: file, alt: words, loading: "lazy", decoding: "async", width, height });
  }

  /**
   * @param {NonNullable<Artifact["scale"]>} scale
   * @param {number} models
   */
  function makeScale({ kind, low, high, file }, models) {
    return element(
      "div",
      { class: "scale" },
      element("span", { text: format.number(low) }),
      element("img", { src: file, alt: `colours from ${format.number(low)} to ${format.number(high)}` }),
      element("span", { text: format.number(high) }),
      element("span", { class: "of", text: `${KINDS[kind]}${models > 1 ? ", one for all models" : ""}` }),
    );
  }

  // Figures that others published: context, apart from the results.
  app.makeContext = function (context) {
    const rows = context.map(([name, value, source, tag]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, isolate(name)),
        element("td", {}, isolate(value)),
        element("td", {}, isolate(source)),
        element("td", {}, element("span", { class: "tag" }, isolate(tag))),
      ),
    );
    const heads = ["What", "Published", "By", "Read in"].map((text) => element("th", { scope: "col", text }));
    return element(
      "table",
      { class: "data" },
      element("thead", {}, element("tr", {}, heads)),
      element("tbody", {}, rows),
    );
  };

  function size(bytes) {
    const [unit, words] = bytes >= 1e6 ? [1e6, "MB"] : [1e3, "kB"];
    return `${format.number(bytes / unit, 2)} ${words}`;
  }

  app.makeFiles = (files) =>
    element(
      "ul",
      { class: "files" },
      files.map(({ name, rows, bytes, file }) =>
        element(
          "li",
          {},
          file
            ? element("a", {
                href: file,
                download: file.slice(file.lastIndexOf("/") + 1),
                text: file.slice(file.lastIndexOf("/") + 1),
              })
            : element("b", { text: name }),
          ` ${format.plural(rows, "row")}, ${file ? size(bytes) : `${size(bytes)} packed: too large for a report, but load_probe reads them`}`,
        ),
      ),
    );
})();
