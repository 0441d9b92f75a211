"use strict";
// Keyboard: pages name their keys, and "?" lists them.
(function () {
  const app = window.conceptprobe;
  const keys = []; // { keys: ["j", "ArrowDown"], words, run }
  const NAMES = { ArrowDown: "↓", ArrowUp: "↑", ArrowLeft: "←", ArrowRight: "→", Escape: "Esc", " ": "Space" };

  // run(event) may return false: then the key does what the browser does with it.
  app.onKeys = (names, words, run) => keys.push({ keys: names, words, run });

  const dialog = app.element("dialog", { class: "dialog", "aria-labelledby": "help-title" });
  document.body.append(dialog);

  function showHelp() {
    const list = app.element("dl", { class: "keys" });
    for (const { keys: names, words } of keys) {
      if (!words) continue;
      const term = app.element(
        "dt",
        {},
        names.map((name) => app.element("kbd", { text: NAMES[name] || name })),
      );
      list.append(term, app.element("dd", { text: words }));
    }
    const close = app.element("button", { type: "button", text: "Close", onclick: () => dialog.close() });
    dialog.replaceChildren(app.element("h2", { id: "help-title", text: "Keyboard" }), list, close);
    dialog.showModal();
  }

  function writing(event) {
    const target = event.target;
    return (
      target instanceof HTMLElement &&
      (target.isContentEditable || target.matches("textarea, select, input:not([type=checkbox], [type=radio])"))
    );
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (document.querySelector("dialog[open]") || (writing(event) && event.key !== "Escape")) return;
    for (const { keys: names, run } of keys) {
      if (names.includes(event.key) && run(event) !== false) {
        event.preventDefault();
        return;
      }
    }
  });

  app.onKeys(["?"], "this list", showHelp);
  app.byId("help-button").addEventListener("click", showHelp);
})();
