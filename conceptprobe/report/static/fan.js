"use strict";
// The fan: what lies in a stack, spread out beside it while the pointer or the focus is on it.
(function () {
  const app = window.conceptprobe;
  const element = app.element;
  const still = window.matchMedia("(prefers-reduced-motion: reduce)");
  const MARGIN = 8;
  const WIDEST_ROW = 5;

  // On the body, because cards clip what they contain. Screen readers have the same words on the stack itself.
  const fan = element("div", "fan");
  fan.hidden = true;
  fan.setAttribute("aria-hidden", "true");
  document.body.append(fan);
  let owner = null;

  function fill(stack) {
    const name = element("p", "fan-name", app.image.name(stack.images[0]));
    name.dir = "auto";
    const tiles = element("div", "fan-tiles");
    stack.images.forEach((n, i) => {
      const item = element("figure", "fan-tile");
      const caption = element("figcaption");
      caption.append(element("b", "", app.formatNumber(stack.values[i])));
      if (app.image.style(n)) caption.append(element("bdi", "", app.image.style(n)));
      item.append(app.makeTile(n), caption);
      tiles.append(item);
    });
    const rows = Math.ceil(stack.images.length / (window.innerWidth < 480 ? WIDEST_ROW - 1 : WIDEST_ROW));
    tiles.style.gridTemplateColumns = `repeat(${Math.ceil(stack.images.length / rows)}, 72px)`;
    fan.replaceChildren(name, tiles);
    if (app.images.id[stack.images[0]] !== app.image.name(stack.images[0])) {
      fan.append(element("p", "fan-id", app.images.id[stack.images[0]]));
    }
  }

  // Above the stack where there is room, else below; never outside the window.
  function place(box) {
    const { width, height } = fan.getBoundingClientRect();
    const left = box.left + box.width / 2 - width / 2;
    const above = box.top - height - MARGIN;
    const top = above >= MARGIN ? above : box.bottom + MARGIN;
    fan.style.left = `${Math.max(MARGIN, Math.min(left, document.documentElement.clientWidth - width - MARGIN))}px`;
    fan.style.top = `${Math.max(MARGIN, Math.min(top, window.innerHeight - height - MARGIN))}px`;
  }

  function spread(box) {
    if (still.matches) return;
    for (const [i, item] of [...fan.querySelectorAll(".fan-tile")].entries()) {
      const to = item.getBoundingClientRect();
      const x = box.left + box.width / 2 - (to.left + to.width / 2);
      const y = box.top + box.height / 2 - (to.top + to.height / 2);
      const from = `translate(${x}px, ${y}px) rotate(${i * 3}deg)`;
      item.animate([{ transform: from, opacity: 0.4 }, { transform: "none", opacity: 1 }], {
        duration: 160,
        easing: "cubic-bezier(.2, .8, .3, 1)",
      });
    }
  }

  function show(stack) {
    if (owner === stack) return;
    owner = stack;
    fill(stack);
    fan.hidden = false;
    const box = stack.getBoundingClientRect();
    place(box);
    spread(box);
  }

  function hide() {
    owner = null;
    fan.hidden = true;
  }

  const stackAt = (event) => (event.target instanceof Element ? event.target.closest(".stack") : null);
  document.addEventListener("pointerover", (event) => (stackAt(event) ? show(stackAt(event)) : hide()));
  document.documentElement.addEventListener("pointerleave", hide);
  document.addEventListener("focusin", (event) => (stackAt(event) ? show(stackAt(event)) : hide()));
  document.addEventListener("focusout", hide);
  // Focus may have scrolled the stack into view: then the fan goes with it.
  const follow = () => (owner && owner === document.activeElement ? place(owner.getBoundingClientRect()) : hide());
  document.addEventListener("scroll", follow, { passive: true });
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
})();
