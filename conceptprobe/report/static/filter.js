"use strict";
// Which images, and so which features, a filter finds.
(function () {
  const app = window.conceptprobe;
  const images = app.images;
  let texts = null;

  const fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();

  // " skull death face": a word of the filter has to stand at the beginning of a word, so that "cat" is not "education".
  function imageTexts() {
    const ofTags = images.tagLists.map((tags) => fold(tags.map((tag) => images.tagNames[tag]).join(" ")));
    const ofNames = images.names.map(fold);
    return images.name.map((name, n) => ` ${ofNames[name]} ${ofTags[images.tags[n]]}`.replace(/[^\p{L}\p{N}]+/gu, " "));
  }

  // A parsed filter: { number } for ":123", { matches } with 1 for each image that has all words, null for no filter.
  app.parseFilter = function (text) {
    const number = /^\s*:(\d+)\s*$/.exec(text);
    if (number) return { number: Number(number[1]), matches: null };
    const words = fold(text).split(/[^\p{L}\p{N}]+/u).filter(Boolean);
    if (!words.length) return null;
    texts = texts || imageTexts();
    const matches = Uint8Array.from(texts, (known) => words.every((word) => known.includes(` ${word}`)));
    return { number: null, matches };
  };

  // How many of a feature's top images the filter finds; for a number, 1 or 0.
  app.countMatches = function (feature, filter) {
    if (!filter.matches) return Number(feature.feature === filter.number);
    let count = 0;
    for (const [numbers] of feature.stacks) for (const n of numbers) count += filter.matches[n];
    return count;
  };
})();
