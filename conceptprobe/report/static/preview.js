"use strict";
// The preview: an image, or all of a stack, large beside it, while the pointer or the focus is on it.
(function () {
  const app = window.conceptprobe;
  const { element, format } = app;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const MARGIN = 8;
  const MOST = 12;
  const SHOWN_TAGS = 8;

  // On the body, because panels clip what they contain. Screen readers have the same words on the picture itself.
  const box = element("div", { class: "preview", "aria-hidden": "true", hidden: true });
  document.body.append(box);
  /** @type {Picture | null} */
  let owner = null;

  /** @param {Picture} picture */
  function fill(picture) {
    const { images, feature, maps, pooling } = picture.context;
    const entries = picture.entries.slice(0, MOST);
    const alone = entries.length === 1;
    const first = entries[0];
    const title = element("p", { class: "preview-title" }, app.isolate(images.label(first.n) || ""));
    const tiles = element("div", { class: alone ? "preview-tiles alone" : "preview-tiles" });
    for (const entry of entries) {
      const { tile } = app.makePicture(picture.context, entry, { fixed: true, caption: false, pooling });
      const map = app.mapOf(picture.context, entry, pooling);
      if (map && maps && !images.missing(entry.n))
        tile.prepend(app.makeHeat(images, entry.n, feature.model, maps.grid, map));
      const caption = element("figcaption", {}, element("b", { text: format.number(entry.value, 4) }));
      const style = images.style(entry.n);
      if (style) caption.append(app.isolate(style, "clip"));
      const figure = element(
        "figure",
        {},
        element("span", { class: "pair" }, map ? app.makeTile(images, entry.n) : null, tile),
        caption,
      );
      tiles.append(figure);
    }
    const about = element("p", { class: "preview-about" });
    if (picture.entries.length > MOST) about.append(`and ${picture.entries.length - MOST} more. `);
    const tags = images.tags(first.n).slice(0, SHOWN_TAGS);
    for (const tag of tags) about.append(element("span", { class: "chip" }, app.isolate(tag, "clip")));
    const id = element("p", { class: "preview-id" });
    box.replaceChildren(title, tiles, about, id);
    if (alone) {
      images.details(first.n).then((details) => {
        if (owner !== picture) return;
        id.textContent =
          details.caption && details.caption !== images.label(first.n)
            ? `${details.id} · ${details.caption}`
            : details.id;
        place(picture.getBoundingClientRect());
      }, app.fail);
    }
  }

  // Above the picture where there is room, else below; never outside the window.
  function place(at) {
    const { width, height } = box.getBoundingClientRect();
    const above = at.top - height - MARGIN;
    const top = above >= MARGIN ? above : at.bottom + MARGIN;
    const left = at.left + at.width / 2 - width / 2;
    box.style.left = `${Math.max(MARGIN, Math.min(left, document.documentElement.clientWidth - width - MARGIN))}px`;
    box.style.top = `${Math.max(MARGIN, Math.min(top, window.innerHeight - height - MARGIN))}px`;
  }

  function spread(at) {
    if (still.matches) return;
    for (const [i, item] of [...box.querySelectorAll("figure")].entries()) {
      const to = item.getBoundingClientRect();
      const x = (at.left + at.width / 2 - (to.left + to.width / 2)) / 3;
      const y = (at.top + at.height / 2 - (to.top + to.height / 2)) / 3;
      const from = `translate(${x}px, ${y}px) rotate(${i * 2}deg)`;
      item.animate(
        [
          { transform: from, opacity: 0.4 },
          { transform: "none", opacity: 1 },
        ],
        { duration: 140, easing: "cubic-bezier(.2, .8, .3, 1)" },
      );
    }
  }

  /** @param {Picture} picture */
  function show(picture) {
    if (owner === picture) return;
    owner = picture;
    fill(picture);
    box.hidden = false;
    const at = picture.getBoundingClientRect();
    place(at);
    if (picture.entries.length > 1) spread(at);
  }

  function hide() {
    owner = null;
    box.hidden = true;
  }

  function follow({ target }) {
    const picture = target instanceof Element ? target.closest(".picture") : null;
    if (picture && "entries" in picture) show(/** @type {Picture} */ (picture));
    else hide();
  }
  // Scrolling moves pictures under a pointer that rests: that is nobody pointing at them.
  let rested = "";
  document.addEventListener("pointerover", (event) => {
    const at = `${event.clientX} ${event.clientY}`;
    if (at !== rested) follow(event);
    rested = at;
  });
  document.documentElement.addEventListener("pointerleave", hide);
  document.addEventListener("focusin", follow);
  document.addEventListener("focusout", hide);
  // Focus may have scrolled the picture into view: then the preview goes with it.
  document.addEventListener(
    "scroll",
    () => (owner && owner === document.activeElement ? place(owner.getBoundingClientRect()) : hide()),
    { passive: true, capture: true },
  );
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && owner && owner === document.activeElement) owner.click();
  });
  app.hidePreview = function () {
    const shown = !box.hidden;
    if (shown) hide();
    return shown;
  };
})();
