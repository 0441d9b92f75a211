"use strict";
// The features that a reader keeps, with notes: in this browser, and as CSV or JSON.
(function () {
  const app = window.conceptprobe;
  const { element } = app;
  const NUMBERS = [
    "hits",
    "llr",
    "p",
    "q",
    "abstraction",
    "effective_leaves",
    "largest_leaf_share",
    "auc",
    "firing_rate",
    "max",
  ];

  class Selection {
    /** @param {Catalogue} catalogue */
    constructor(catalogue) {
      this.catalogue = catalogue;
      /** @type {(() => void)[]} */
      this.listeners = [];
      this.notes = this.read();
      // Another page of this report may have changed it.
      window.addEventListener("storage", () => this.reread());
      window.addEventListener("pageshow", (event) => event.persisted && this.reread());
    }

    read() {
      const stored = app.recall("selection", {});
      const notes = Object.entries(stored && typeof stored === "object" ? stored : {});
      return new Map(notes.map(([key, note]) => [key, String(note)]));
    }

    reread() {
      this.notes = this.read();
      this.tell();
    }

    has(key) {
      return this.notes.has(key);
    }

    get size() {
      return this.notes.size;
    }

    set(key, on) {
      if (on) this.notes.set(key, this.notes.get(key) || "");
      else this.notes.delete(key);
      this.keep();
      app.say(
        `${on ? "Selected" : "No longer selected"}: ${key}. ${app.format.plural(this.size, "feature")} selected.`,
      );
    }

    note(key, text) {
      this.notes.set(key, text);
      this.keep();
    }

    clear() {
      this.notes.clear();
      this.keep();
    }

    keep() {
      app.remember("selection", Object.fromEntries(this.notes));
      this.tell();
    }

    tell() {
      for (const listener of this.listeners) listener();
    }

    // One object a feature; those that this report does not hold have their key and note alone.
    rows() {
      const { catalogue } = this;
      return [...this.notes].map(([key, note]) => {
        const g = catalogue.find(key);
        if (g < 0) return { key, note };
        const layer = catalogue.layer(g);
        const row = {
          key,
          model: app.report.models[layer.model].spec,
          feature: catalogue.id(g),
          layer: layer.name,
          index: g - layer.start,
        };
        row.name = catalogue.word("word", g) ?? catalogue.word("named", g);
        row.concept = catalogue.concept(g);
        row.verdict = catalogue.verdict(g);
        for (const column of NUMBERS) {
          if (catalogue.has(column)) row[column] = finite(catalogue.number(column, g));
        }
        row.note = note;
        row.link = new URL(app.featureHref(key), location.href).href;
        return row;
      });
    }

    json() {
      const models = app.report.models.map(({ key, spec, fingerprint }) => ({ key, spec, fingerprint }));
      return `${JSON.stringify({ report: app.report.title, written: app.report.date, models, features: this.rows() }, null, 2)}\n`;
    }

    csv() {
      const rows = this.rows();
      const columns = [...new Set(rows.flatMap(Object.keys))];
      return `${[columns, ...rows.map((row) => columns.map((column) => row[column]))].map((cells) => cells.map(cell).join(",")).join("\r\n")}\r\n`;
    }
  }

  // A float32 in as few digits as give it back.
  function finite(value) {
    if (!Number.isFinite(value)) return null;
    const digits = [6, 7, 8].find((count) => Math.fround(Number(value.toPrecision(count))) === value);
    return Number(value.toPrecision(digits || 9));
  }

  // Spreadsheets run a text that begins like a formula: an apostrophe keeps it a text.
  function cell(value) {
    if (value === null || value === undefined) return "";
    if (typeof value === "number") return String(value);
    const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
    return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  }

  app.Selection = Selection;

  // The bar at the foot of the page while something is selected, and the dialog with the notes.
  app.showSelection = function (selection) {
    const count = element("b");
    const button = (words, onclick) => element("button", { type: "button", class: "small", text: words, onclick });
    const bar = element(
      "div",
      { class: "selection-bar", role: "region", "aria-label": "Selection" },
      count,
      button("Notes", () => open()),
      button("Export CSV", () => app.download("features.csv", "text/csv", selection.csv())),
      button("Export JSON", () => app.download("features.json", "application/json", selection.json())),
      button("Clear", () => selection.clear()),
    );
    const dialog = element("dialog", { class: "dialog notes", "aria-labelledby": "notes-title" });
    document.body.append(bar, dialog);

    function open() {
      const list = element("ul", { class: "note-list" });
      for (const [key, note] of selection.notes) list.append(makeNote(key, note));
      dialog.replaceChildren(
        element("h2", { id: "notes-title", text: "Selected features" }),
        element("p", { class: "aside", text: "Kept in this browser. Export them to keep them elsewhere." }),
        list,
        element("button", { type: "button", text: "Close", onclick: () => dialog.close() }),
      );
      dialog.showModal();
    }

    function makeNote(key, note) {
      const g = selection.catalogue.find(key);
      const name = g < 0 ? null : selection.catalogue.name(g);
      const area = element("textarea", { rows: "2", "aria-label": `Note on ${key}`, placeholder: "Note" });
      area.value = note;
      area.addEventListener("input", () => selection.note(key, area.value));
      const item = element("li");
      const head = element("p", {}, element("a", { class: "clip", href: app.featureHref(key) }, app.isolate(key)));
      if (name) head.append(app.isolate(name.text, "clip"));
      head.append(
        button("Remove", () => {
          selection.set(key, false);
          item.remove();
        }),
      );
      item.append(head, area);
      return item;
    }

    const update = () => {
      bar.hidden = selection.size === 0;
      count.textContent = `${app.format.plural(selection.size, "feature")} selected`;
    };
    selection.listeners.push(update);
    update();
  };
})();
