"use strict";
// The lines that give the numbers of the page again.
(function () {
  const app = window.conceptprobe;
  const { element } = app;

  app.makeReproduce = function (feature) {
    const panel = element(
      "section",
      { class: "panel", "aria-labelledby": "reproduce-title" },
      element("h2", { id: "reproduce-title", text: "Reproduce" }),
    );
    const fill = (lines) =>
      lines
        .map((line) =>
          line
            .replaceAll("{feature}", () => feature.id)
            .replaceAll("{layer}", () => feature.layer.name)
            .replaceAll("{index}", () => String(feature.index)),
        )
        .join("\n");
    for (const [words, lines] of [
      ["Python", feature.model.python],
      ["Shell", feature.model.cli],
    ]) {
      if (!lines?.length) continue;
      const text = fill(lines);
      panel.append(
        element("div", { class: "panel-head" }, element("h3", { text: words }), app.copyButton(text)),
        element("pre", { tabindex: "0", "aria-label": words }, element("code", { text })),
      );
    }
    const { spec, fingerprint } = feature.model;
    panel.append(
      element(
        "p",
        { class: "aside" },
        "Model ",
        app.isolate(spec),
        " ",
        element("code", { text: fingerprint.slice(0, 16), title: fingerprint }),
        ", index ",
        app.isolate(feature.model.folder || ""),
        ".",
      ),
    );
    return panel;
  };
})();
