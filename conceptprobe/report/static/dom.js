"use strict";
// Elements. Every text from the data goes in through textContent or an attribute, never as HTML.
(function () {
  window.conceptprobe = window.conceptprobe || {};
  const app = window.conceptprobe;

  // element("a", { class: "id", href: "…", text: "…", onclick }, child, "text", …); null and false are left out.
  app.element = function (tag, attributes, ...children) {
    const node = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (name === "text") node.textContent = value;
      else if (name === "class") node.className = value;
      else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
      else node.setAttribute(name, value === true ? "" : value);
    }
    node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
    return node;
  };

  // A text of unknown direction and length, isolated from what stands around it.
  app.isolate = (text, className) => app.element("bdi", { class: className, text });

  app.byId = (id) => document.getElementById(id);

  // Says something to those who do not see it happen.
  app.say = (text) => (app.byId("said").textContent = text);

  // A button that copies; where the page may not write to the clipboard, the text is selected instead.
  app.copyButton = function (text, words = "Copy") {
    const button = app.element("button", { type: "button", class: "small", text: words });
    button.addEventListener("click", async () => {
      const done = await copy(typeof text === "function" ? text() : text);
      button.textContent = done ? "Copied" : "Press Ctrl+C";
      app.say(button.textContent);
      setTimeout(() => (button.textContent = words), 1500);
    });
    return button;
  };

  async function copy(text) {
    try {
      await navigator.clipboard.writeText(text);
      return true;
    } catch {
      const area = app.element("textarea", { class: "sr" });
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      return done;
    }
  }

  // A file made here, saved by the browser.
  app.download = function (name, type, text) {
    const link = app.element("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
    document.body.append(link);
    link.click();
    link.remove();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  // The hash is the state of a page, so that skipping to the content must not change it.
  document.querySelector(".skip")?.addEventListener("click", (event) => {
    event.preventDefault();
    app.byId("content").focus();
  });

  // What went wrong, at the top of the page.
  app.fail = function (error) {
    const text = error instanceof Error ? error.message : String(error);
    app.byId("content").prepend(app.element("p", { class: "notice", role: "alert", text }));
  };
})();
