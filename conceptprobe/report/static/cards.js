"use strict";
// The DOM of a feature's card. Every text from the data goes in through textContent or an attribute, never as HTML.
(function () {
  const app = window.conceptprobe;
  const images = app.images;
  const root = document.documentElement.dataset.root;
  const missing = new Set(images.missing);
  const SHOWN_STACKS = 8; // as in pages.py
  const GRID = 4; // as in thumbnails.py

  app.element = function (tag, className, text) {
    const node = document.createElement(tag);
    if (className) node.className = className;
    if (text !== undefined) node.textContent = text;
    return node;
  };
  const element = app.element;

  app.image = {
    name: (n) => images.names[images.name[n]],
    style: (n) => (images.style[n] < 0 ? "" : images.styles[images.style[n]]),
    tags: (n) => images.tagLists[images.tags[n]].map((tag) => images.tagNames[tag]),
  };

  app.formatNumber = (value) => (value === null ? "not a number" : String(Number(value.toPrecision(3))));
  app.formatShare = (share) => (share === null ? "not a number" : `${Number((100 * share).toPrecision(2))} %`);

  // An image: its place in its sheet, as a background. The words for it are on the stack.
  app.makeTile = function (number) {
    const tile = element("span", "tile");
    if (missing.has(number)) {
      tile.classList.add("missing");
      return tile;
    }
    const place = number % GRID ** 2;
    const at = (step) => `${(100 * step) / (GRID - 1)}%`;
    tile.style.backgroundImage = `url("${root}thumbs/${Math.floor(number / GRID ** 2)}.webp")`;
    tile.style.backgroundSize = `${GRID * 100}%`;
    tile.style.backgroundPosition = `${at(place % GRID)} ${at(Math.floor(place / GRID))}`;
    return tile;
  };

  function countStyles(numbers) {
    return new Set(numbers.map((n) => (images.style[n] < 0 ? `image ${n}` : app.image.style(n)))).size;
  }

  // What a stack says to those who do not see it: name, then style and activation of every image.
  function describeStack(numbers, values) {
    const parts = numbers.map((n, i) => [app.image.style(n), app.formatNumber(values[i])].filter(Boolean).join(" "));
    return `${app.image.name(numbers[0])}: ${parts.join(", ")}`;
  }

  function makeStack([numbers, values], matches) {
    const stack = element("span", "stack");
    stack.tabIndex = 0;
    stack.setAttribute("role", "img");
    stack.setAttribute("aria-label", describeStack(numbers, values));
    if (matches && numbers.some((n) => matches[n])) stack.classList.add("match");
    if (numbers.length > 1) stack.classList.add(numbers.length > 2 ? "many" : "two");
    stack.append(app.makeTile(numbers[0]));
    if (numbers.length > 1) stack.append(element("span", "badge", String(countStyles(numbers))));
    stack.images = numbers;
    stack.values = values;
    return stack;
  }

  function makeTag([tag, count, of, rate], onTag) {
    const chip = element("button", "tag");
    chip.type = "button";
    chip.append(element("bdi", "tag-name", tag), element("span", "tag-count", `${count}/${of}`));
    chip.title = `${tag}: ${count} of the first ${of}, against ${app.formatShare(rate)} of the source. A description, not a tested claim.`;
    chip.addEventListener("click", () => onTag(tag));
    return chip;
  }

  function plural(count, word) {
    return `${count} ${word}${count === 1 ? "" : "s"}`;
  }

  // "14 labels in 32", or "32 images" where no two share a label.
  function makeSummary(feature) {
    const total = feature.stacks.reduce((sum, [numbers]) => sum + numbers.length, 0);
    const labels = plural(feature.stacks.length, "label");
    const summary = element("span", "summary", feature.stacks.length < total ? `${labels} in ${total}` : plural(total, "image"));
    summary.title = `${labels} among the top ${plural(total, "image")}`;
    return summary;
  }

  function makeExpander(text, expand) {
    const more = element("button", "expand", text);
    more.type = "button";
    more.title = `Show all: ${text}`;
    more.addEventListener("click", () => {
      more.replaceWith(text);
      expand();
    });
    return more;
  }

  // options: layer, href (permalink), onTag, matches (1 for each image that the filter finds, or null)
  app.makeCard = function (feature, options) {
    const card = element("article", "card");
    const head = element("header", "card-head");
    const link = element("a", "feature-id");
    link.href = options.href;
    link.append(element("bdi", "layer-name", options.layer), element("span", "feature-number", `:${feature.feature}`));
    link.title = "Link to this feature";
    const facts = element("p", "facts");
    facts.append(
      element("span", "", `max ${app.formatNumber(feature.max)}`),
      element("span", "", `fires ${app.formatShare(feature.firing)}`),
      makeSummary(feature),
    );
    head.append(link, facts);

    const stacks = element("div", "stacks");
    const hidden = feature.stacks.slice(SHOWN_STACKS);
    const add = (some) => stacks.append(...some.map((stack) => makeStack(stack, options.matches)));
    add(feature.stacks.slice(0, SHOWN_STACKS));
    if (!feature.stacks.length) stacks.append(element("p", "no-images", "No image has a finite activation."));
    if (options.matches && hidden.some(([numbers]) => numbers.some((n) => options.matches[n]))) {
      add(hidden);
    } else if (hidden.length) {
      facts.lastChild.replaceChildren(
        makeExpander(facts.lastChild.textContent, () => {
          add(hidden);
          stacks.children[SHOWN_STACKS].focus();
        }),
      );
    }

    const tags = element("div", "tags");
    for (const tag of feature.tags) tags.append(makeTag(tag, options.onTag));
    card.append(head, stacks, tags);
    return card;
  };
})();
