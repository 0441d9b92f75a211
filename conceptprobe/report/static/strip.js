"use strict";
// What a feature does below its extreme: images from every tenth of its range, the lowest, and any.
(function () {
  const app = window.conceptprobe;
  const { element, format } = app;

  app.makeStrip = function (context) {
    const strip = context.feature.strip[0];
    if (!strip?.tenths.some((tenth) => tenth.length)) return null;
    const columns = element("div", {
      class: "strip",
      role: "group",
      tabindex: "0",
      "aria-label": "Images from each tenth of its range",
    });
    strip.tenths.forEach((entries, i) => {
      const head = element("p", { class: "strip-head" }, element("b", { text: `${10 * i}–${10 * (i + 1)} %` }));
      if (entries.length) head.append(element("span", { text: format.number(entries[0].value, 2) }));
      const tenth = element(
        "div",
        { class: "tenth" },
        head,
        entries.map((entry) => app.makePicture(context, entry, { caption: false, pooling: strip.pooling })),
      );
      tenth.style.setProperty("--tenth", String(i));
      columns.append(tenth);
    });
    return element(
      "section",
      { class: "panel", "aria-labelledby": "strip-title" },
      element("h2", { id: "strip-title", text: "Across its range" }),
      element("p", {
        class: "aside",
        text:
          "Random images of each tenth of all images, ranked by activation: least active on the left, most active on the " +
          "right. The number is the largest activation shown. The top images above are only the far right end.",
      }),
      columns,
    );
  };

  app.makeControls = function (context) {
    const { feature } = context;
    const panels = [];
    const bottom = feature.bottom[0];
    if (bottom?.entries.length) {
      panels.push(
        makeControl(
          context,
          "bottom",
          "Least active",
          `The images with the lowest activation, by ${bottom.pooling}.`,
          bottom.entries,
        ),
      );
    }
    if (feature.random.length) {
      const known = feature.random.some(({ value }) => !Number.isNaN(value));
      const words = known
        ? "The same random images for every feature of the model, with this feature's activation on them."
        : "The same random images for every feature of the model.";
      panels.push(makeControl(context, "random", "Random images, as a control", words, feature.random));
    }
    return panels;
  };

  /**
   * @param {PictureContext} context
   * @param {string} id
   * @param {string} title
   * @param {string} words
   * @param {Entry[]} entries
   */
  function makeControl(context, id, title, words, entries) {
    return element(
      "section",
      { class: "panel", "aria-labelledby": `${id}-title` },
      element("h2", { id: `${id}-title`, text: title }),
      element("p", { class: "aside", text: words }),
      app.makePictures(context, entries, { grouped: false }),
    );
  }
})();
