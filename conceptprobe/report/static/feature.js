"use strict";
// One feature, chosen by the address: feature.html#clip/blocks.5.mlp.hidden:12
(function () {
  const app = window.conceptprobe;
  const { element, byId } = app;
  /** @type {Catalogue} */
  let catalogue;
  /** @type {FeatureSelection} */
  let selection;
  /** @type {ConceptData | null} */
  let concepts = null;
  let shown = -1;

  async function start() {
    [catalogue, concepts] = await Promise.all([
      app.loadCatalogue(),
      app.report.has.concepts ? app.load("concepts") : null,
    ]);
    selection = new app.Selection(catalogue);
    app.onHash(() => show().catch(app.fail));
    await show();
  }

  async function show() {
    const { path } = app.readHash();
    if (!path && catalogue.count) app.goTo(app.writeHash(catalogue.key(0), []), false);
    const key = path || (catalogue.count ? catalogue.key(0) : "");
    const g = catalogue.find(key);
    const root = byId("feature");
    app.hidePreview();
    if (g < 0) {
      shown = -1;
      root.replaceChildren(
        element(
          "p",
          { class: "notice", role: "alert" },
          "This report holds no feature ",
          app.isolate(key),
          ". ",
          element("a", { href: "explorer.html", text: "All features" }),
        ),
      );
      return;
    }
    if (g === shown) return;
    shown = g;
    root.setAttribute("aria-busy", "true");
    const feature = await app.loadFeature(catalogue, g);
    if (shown !== g) return; // the reader has chosen another feature meanwhile
    draw(root, feature);
    root.setAttribute("aria-busy", "false");
    window.scrollTo(0, 0);
  }

  /** @param {Feature} feature */
  function draw(root, feature) {
    /** @type {PictureContext} */
    const context = { images: catalogue.images, feature, maps: null };
    const left = [
      app.makeVisualizations(feature),
      app.makeTopImages(context),
      app.makeStrip(context),
      ...app.makeControls(context),
      app.makeMatches(feature, catalogue),
      app.makeNeighbours(feature, catalogue),
    ];
    const right = [
      app.makeEvidence(feature),
      app.makeHistogram(feature),
      app.makeConceptTable(feature, concepts),
      app.makeNames(feature),
      app.makeReproduce(feature),
    ];
    const some = (nodes) => nodes.filter(Boolean);
    root.replaceChildren(
      makeHead(feature),
      element(
        "div",
        { class: "feature-columns" },
        element("div", { class: "left" }, some(left)),
        element("div", { class: "right" }, some(right)),
      ),
    );
    app.paintModel(root, feature.layer.model);
    const name = catalogue.name(feature.g);
    document.title = `${feature.id}${name ? ` · ${name.text}` : ""} · ${app.report.title}`;
    app.say(`${feature.id}, ${catalogue.verdict(feature.g)}`);
    app.loadMaps(feature).then((maps) => {
      if (!maps || shown !== feature.g) return;
      context.maps = maps;
      context.redraw?.();
    }, app.fail);
  }

  /** @param {Feature} feature */
  function makeHead(feature) {
    const name = catalogue.name(feature.g);
    const from = {
      words: "named by words",
      concepts: "named by concepts",
      concept: catalogue.found(feature.g) ? "" : "best concept of its top images",
    };
    const title = element("h1", {}, name ? app.isolate(name.text) : "No name");
    const line = element(
      "p",
      { class: "feature-line" },
      app.modelLabel(feature.layer.model),
      element("code", { class: "feature-key" }, app.isolate(feature.id)),
      app.verdictBadge(catalogue.verdict(feature.g)),
    );
    const word = catalogue.word("word", feature.g);
    if (name && from[name.from]) line.append(element("span", { class: "muted", text: from[name.from] }));
    if (word !== null && name?.text !== word)
      line.append(element("span", { class: "muted" }, "also “", app.isolate(word), "” by words"));
    const check = element("button", { type: "button", class: "small" });
    const update = () => {
      const on = selection.has(feature.key);
      check.textContent = on ? "Selected" : "Select";
      check.setAttribute("aria-pressed", String(on));
    };
    check.addEventListener("click", () => selection.set(feature.key, !selection.has(feature.key)));
    selection.listeners = [update];
    update();
    const actions = element(
      "p",
      { class: "actions" },
      check,
      app.copyButton(() => location.href, "Copy link"),
      app.copyButton(feature.key, "Copy id"),
    );
    return element("header", { class: "feature-head" }, makeSteps(feature), title, line, actions);
  }

  /**
   * Back to the list, and its next and previous feature; where the reader comes from elsewhere, those of the report.
   * @param {Feature} feature
   */
  function makeSteps(feature) {
    const { hash, previous, next, words } = stepsOf(feature);
    const step = (key, text, title) =>
      key
        ? element("a", { class: "button small", href: app.featureHref(key), title: `${title}: ${key}`, text })
        : element("span", { class: "button small off", "aria-disabled": "true", text });
    return element(
      "nav",
      { class: "steps", "aria-label": "Features" },
      element("a", { href: `explorer.html${hash}`, id: "back", text: words }),
      step(previous, "← Previous", "Previous (k)"),
      step(next, "Next →", "Next (j)"),
    );
  }

  /** @param {{ key: string, g: number }} feature */
  function stepsOf({ key, g }) {
    const list = readList();
    const at = list ? list.keys.indexOf(key) : -1;
    if (at >= 0)
      return { hash: list.hash, previous: list.keys[at - 1], next: list.keys[at + 1], words: "Back to the results" };
    return {
      hash: "",
      previous: g > 0 ? catalogue.key(g - 1) : null,
      next: g + 1 < catalogue.count ? catalogue.key(g + 1) : null,
      words: "All features",
    };
  }

  // What the explorer left: its address, and the features of its list.
  function readList() {
    try {
      return JSON.parse(sessionStorage.getItem("conceptprobe list") ?? "null");
    } catch {
      return null;
    }
  }

  function step(which) {
    const key = shown < 0 ? null : stepsOf({ key: catalogue.key(shown), g: shown })[which];
    if (!key) return false;
    location.hash = app.featureHref(key).split("#")[1];
    return true;
  }

  app.onKeys(["j", "ArrowRight"], "next feature", () => step("next"));
  app.onKeys(["k", "ArrowLeft"], "previous feature", () => step("previous"));
  app.onKeys(["x"], "select or deselect the feature", () =>
    shown < 0 ? false : selection.set(catalogue.key(shown), !selection.has(catalogue.key(shown))),
  );
  app.onKeys(["/"], "search all features", () => (location.href = "explorer.html"));
  app.onKeys(["Escape"], "close the preview; then go back to the list", () => {
    if (app.hidePreview()) return true;
    const back = byId("back");
    return back ? back.click() : false;
  });

  start().catch(app.fail);
})();
