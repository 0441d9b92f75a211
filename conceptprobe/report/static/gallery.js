"use strict";
// Rows of images with their activations: one by one, or those of one label as a stack.
(function () {
  const app = window.conceptprobe;
  const { element, format } = app;

  // context: { images, feature, maps }; entry: { n, value, position, place (of top images) }
  app.makePicture = function (context, entry, options = {}) {
    const { images, feature } = context;
    const label = images.label(entry.n);
    const tile = app.makeTile(images, entry.n);
    const { grid } = feature.layer;
    const patch = strongestPatch(context, entry, options.pooling);
    if (grid && patch !== null && !images.missing(entry.n)) {
      tile.append(app.makeOutline(images, entry.n, feature.model, grid, patch));
    }
    const node = element("span", { class: "picture", tabindex: options.fixed ? null : "0", role: "img" }, tile);
    const picture = /** @type {Picture} */ (node);
    picture.tile = tile;
    describe(picture, images, [entry]);
    picture.entries = [entry];
    if (app.report.has.full_images && !options.fixed)
      picture.addEventListener("click", () => openWhole(picture, images).catch(app.fail));
    picture.context = { ...context, pooling: options.pooling };
    if (options.caption !== false) {
      const caption = element(
        "span",
        { class: "caption", "aria-hidden": "true" },
        element("b", { text: format.number(entry.value) }),
      );
      if (label !== null) caption.append(app.isolate(label, "clip"));
      picture.append(caption);
    }
    return picture;
  };

  // The map of a top image, where there is one for its list.
  app.mapOf = ({ maps }, { place }, pooling) =>
    maps && place !== undefined && maps.pooling === pooling ? maps.of(place) : null;

  /**
   * The patch that an image is listed for, or else the brightest of its map.
   * @param {PictureContext} context
   * @param {Entry} entry
   * @param {string | undefined} pooling
   */
  function strongestPatch(context, entry, pooling) {
    if (entry.position !== null) return entry.position;
    const map = app.mapOf(context, entry, pooling);
    return map ? map.indexOf(Math.max(...map)) : null;
  }

  /**
   * A stack of entries of one label: the best on top, how many as a number, all of them in its fan.
   * @param {PictureContext} context
   * @param {Entry[]} entries
   */
  function makeStack(context, entries, options) {
    const stack = app.makePicture(context, entries[0], options);
    if (entries.length === 1) return stack;
    stack.classList.add("stack", entries.length > 2 ? "many" : "two");
    stack.tile.after(element("span", { class: "badge", text: String(entries.length) }));
    describe(stack, context.images, entries);
    stack.entries = entries;
    return stack;
  }

  /**
   * The whole image of a picture, in a tab of its own, where the report has it or knows where it lies.
   * @param {Picture} picture
   * @param {Images} images
   */
  async function openWhole(picture, images) {
    if (picture.entries.length !== 1) return;
    const { file } = await images.details(picture.entries[0].n);
    if (file && /^(images\/|file:\/\/)/.test(file)) window.open(file, "_blank", "noopener");
  }

  /**
   * What a picture says to those who do not see it: label, then style and activation of every image.
   * @param {Picture} picture
   * @param {Images} images
   * @param {Entry[]} entries
   */
  function describe(picture, images, entries) {
    const about = entries
      .map(({ n, value }) => [images.style(n), format.number(value)].filter(Boolean).join(" "))
      .join(", ");
    const { n } = entries[0];
    picture.setAttribute("aria-label", `${images.label(n) || `image ${n}`}: ${about}`);
    if (images.label(n) === null)
      images.words(n).then((words) => picture.setAttribute("aria-label", `${words}: ${about}`), app.fail);
  }

  // Entries without those of equal content: what is shown, and how many are not.
  app.collapse = function (images, entries) {
    const seen = new Set();
    const kept = entries.filter(({ n }) => !seen.has(images.original(n)) && seen.add(images.original(n)));
    return { entries: kept, dropped: entries.length - kept.length };
  };

  // options: { grouped, pooling }
  app.makePictures = function (context, entries, options) {
    const list = element("div", { class: "pictures" });
    if (!options.grouped) {
      list.append(...entries.map((entry) => app.makePicture(context, entry, options)));
      return list;
    }
    const groups = new Map();
    for (const entry of entries) {
      const group = context.images.group(entry.n);
      groups.set(group, [...(groups.get(group) || []), entry]);
    }
    list.append(...[...groups.values()].map((group) => makeStack(context, group, options)));
    return list;
  };

  // The panel of the top images, with its switches; they are kept in this browser.
  app.makeTopImages = function (context) {
    const { feature, images } = context;
    const panel = element("section", { class: "panel", "aria-labelledby": "top-title" });
    const note = element("p", { class: "aside" });
    const place = element("div");
    const chosen = {
      view: "grouped",
      pooling: feature.model.pooling,
      duplicates: "once",
      ...app.recall("gallery", {}),
    };
    if (!feature.lists.some(({ pooling }) => pooling === chosen.pooling)) chosen.pooling = feature.lists[0].pooling;
    if (!app.report.has.labels) chosen.view = "flat";

    function draw() {
      app.remember("gallery", chosen);
      const all = feature.lists.find(({ pooling }) => pooling === chosen.pooling)?.entries ?? [];
      const { entries, dropped } =
        chosen.duplicates === "once" ? app.collapse(images, all) : { entries: all, dropped: 0 };
      const duplicates = new Set(all.map(({ n }) => images.original(n))).size < all.length;
      switches.duplicates.hidden = !duplicates;
      const words = [`${format.plural(all.length, "image")}, by ${chosen.pooling} over the image.`];
      if (dropped) words.push(`${format.plural(dropped, "duplicate")} of equal content not shown again.`);
      const maps = context.maps && context.maps.pooling === chosen.pooling ? context.maps : null;
      if (maps || all.some(({ position }) => position !== null))
        words.push("The outline is the patch that fires most.");
      if (maps)
        words.push(
          `Point at one of the first ${maps.count} for its map of activations (${format.number(maps.low)} dark to ${format.number(maps.high)} bright).`,
        );
      if (app.report.has.full_images) words.push("A click opens a single image as it is.");
      note.textContent = words.join(" ");
      place.replaceChildren(
        all.length
          ? app.makePictures(context, entries, { grouped: chosen.view === "grouped", pooling: chosen.pooling })
          : element("p", { class: "aside", text: "No image has a finite activation." }),
      );
    }

    const switches = {
      view: makeSwitch(
        "view",
        "Arrange",
        [
          ["grouped", "By label"],
          ["flat", "One by one"],
        ],
        chosen,
        draw,
      ),
      pooling: makeSwitch(
        "pooling",
        "Pooling",
        feature.lists.map(({ pooling }) => [pooling, pooling]),
        chosen,
        draw,
      ),
      duplicates: makeSwitch(
        "duplicates",
        "Duplicates",
        [
          ["once", "Once"],
          ["all", "All"],
        ],
        chosen,
        draw,
      ),
    };
    switches.view.hidden = !app.report.has.labels;
    switches.pooling.hidden = feature.lists.length < 2;
    panel.append(
      element(
        "div",
        { class: "panel-head" },
        element("h2", { id: "top-title", text: "Top images" }),
        ...Object.values(switches),
      ),
      note,
      place,
    );
    context.redraw = draw; // once the maps have come
    draw();
    return panel;
  };

  function makeSwitch(name, legend, options, chosen, draw) {
    const group = element("fieldset", { class: "segmented" }, element("legend", { class: "sr", text: legend }));
    for (const [value, words] of options) {
      const input = element("input", { type: "radio", name: `switch-${name}`, value });
      input.checked = chosen[name] === value;
      input.addEventListener("change", () => {
        chosen[name] = value;
        draw();
      });
      group.append(element("label", { title: `${legend}: ${words}` }, input, words));
    }
    return group;
  }
})();
