"use strict";
// The filters beside the cards. Every control is made once; `update` writes the state and the counts into it.
(function () {
  const app = window.conceptprobe;
  const { element } = app;
  const SUGGESTIONS = 20;

  // change(part of the state): called for what the reader does.
  app.makePanel = function (root, catalogue, change) {
    /** @type {((state: ExplorerState, facets: Facets) => void)[]} */
    const updates = [];
    const { models } = app.report;
    const layers = [...new Set(app.layers.map((layer) => layer.name))];
    const add = (node, update) => {
      root.append(node);
      updates.push(update);
    };

    const known = Object.keys(app.VERDICTS).filter((name) => hasVerdict(catalogue, name));
    add(
      ...makeList(
        "Verdict",
        "verdict",
        known.map((name) => [name, app.verdictBadge(name)]),
        change,
      ),
    );
    if (models.length > 1)
      add(
        ...makeList(
          "Model",
          "model",
          models.map((model, m) => [model.key, app.modelLabel(m)]),
          change,
        ),
      );
    if (layers.length > 1)
      add(
        ...makeList(
          "Layer",
          "layer",
          layers.map((name) => [name, app.isolate(name, "mono clip")]),
          change,
        ),
      );

    const numbers = element("fieldset", { class: "filter" }, element("legend", { text: "Numbers" }));
    const fields = [];
    const number = (name, words, scale, attributes) => {
      const input = element("input", {
        type: "number",
        min: "0",
        step: "any",
        inputmode: "decimal",
        "aria-label": words,
        placeholder: "any",
        ...attributes,
      });
      input.addEventListener("change", () =>
        change({
          [name]:
            input.value === "" || !input.validity.valid ? null : Number((Number(input.value) / scale).toPrecision(12)),
        }),
      );
      fields.push([input, name, scale]);
      return input;
    };
    if (catalogue.has("q")) {
      numbers.append(
        element(
          "label",
          { class: "range" },
          element("span", { text: "q at most" }),
          number("qmax", "q at most", 1, { max: "1" }),
        ),
      );
    }
    numbers.append(
      element(
        "div",
        { class: "range" },
        element("span", { text: "Fires, %" }),
        number("firemin", "Fires at least, percent of the images", 100, { max: "100" }),
        "–",
        number("firemax", "Fires at most, percent of the images", 100, { max: "100" }),
      ),
    );
    add(numbers, (state) => {
      for (const [input, name, scale] of fields) {
        if (input !== document.activeElement)
          input.value = state[name] === null ? "" : String(Number((state[name] * scale).toPrecision(12)));
      }
    });

    const texts = element("fieldset", { class: "filter" }, element("legend", { text: "About" }));
    const names = [];
    if (catalogue.concepts.length) names.push(["concept", "Concept", catalogue.concepts]);
    if (app.report.has.tags) names.push(["tag", "Tag", catalogue.images.table.tag_names]);
    for (const [name, words, known] of names) {
      const { label, update } = makeText(name, words, known, change);
      texts.append(label);
      updates.push(update);
    }
    /** @type {["vis" | "named" | "selected", string, boolean][]} */
    const switches = [
      ["vis", "has a visualization", Boolean(app.report.has.visualizations)],
      ["named", "has a name", app.report.has.names],
      ["selected", "selected", true],
    ];
    for (const [name, words, there] of switches) {
      if (!there) continue;
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => change({ [name]: box.checked }));
      texts.append(element("label", { class: "option" }, box, words));
      updates.push((state) => (box.checked = state[name]));
    }
    root.append(texts);
    return (state, facets) => {
      for (const update of updates) update(state, facets);
    };
  };

  /** @param {Catalogue} catalogue */
  function hasVerdict(catalogue, name) {
    for (let g = 0; g < catalogue.count; g++) if (catalogue.verdict(g) === name) return true;
    return false;
  }

  // Checkboxes with counts. None checked means all.
  function makeList(title, name, options, change) {
    const rows = options.map(([value, label]) => {
      const box = element("input", { type: "checkbox", value });
      const count = element("span", { class: "of" });
      const row = element("label", { class: "option" }, box, label, count);
      return { value, box, count, row };
    });
    const group = element("fieldset", { class: "filter" }, element("legend", { text: title }));
    const list = element(
      "div",
      { class: "options" },
      rows.map(({ row }) => row),
    );
    list.addEventListener("change", () =>
      change({ [name]: rows.filter(({ box }) => box.checked).map(({ value }) => value) }),
    );
    group.append(list);
    const update = (state, facets) => {
      for (const { value, box, count } of rows) {
        box.checked = state[name].includes(value);
        count.textContent = app.format.count(facets[name].get(value) || 0);
      }
    };
    return [group, update];
  }

  // A text field that completes from known texts, and filters by one of them only when it is one.
  function makeText(name, words, known, change) {
    const list = element("datalist", { id: `${name}-list` });
    const input = element("input", {
      type: "text",
      list: list.id,
      placeholder: "any",
      autocomplete: "off",
      spellcheck: "false",
    });
    const texts = new Set(known);
    input.addEventListener("input", () => {
      const typed = app.fold(input.value);
      const fits = typed ? known.filter((text) => app.fold(text).includes(typed)).slice(0, SUGGESTIONS) : [];
      list.replaceChildren(...fits.map((text) => element("option", { value: text })));
      if (texts.has(input.value)) change({ [name]: input.value });
    });
    input.addEventListener("change", () => {
      const nearest = known.find((text) => app.fold(text) === app.fold(input.value));
      change({ [name]: nearest || input.value });
    });
    return {
      label: element("label", { class: "text-field" }, element("span", { text: words }), input, list),
      update(state) {
        if (input !== document.activeElement) input.value = state[name];
      },
    };
  }
})();
