"use strict";
// Typo-tolerant search over the distinct texts of a report (names, concepts, labels, tags, ids), not over its features.
(function () {
  const app = window.conceptprobe;
  // One error a word of five letters or more, also in its first; shorter words by uFuzzy's own, stricter rules.
  const fuzzy = new window.uFuzzy({ intraMode: 1, interLft: 2, intraSlice: [0, Infinity], intraChars: "[a-z\\d]" });
  const KEPT_WORDS = 12;
  const WEIGHTS = { word: 40, named: 36, concept: 32, other: 10, label: 5, tag: 4, id: 3, layer: 1 };
  const EXACT = 2; // a text that is the word, or begins a word with it, without an error

  app.fold = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
  const split = (text) =>
    app
      .fold(text)
      .split(/[^\p{L}\p{N}]+/u)
      .filter(Boolean);

  // Texts by their distinct words: a word is looked for once, however many texts have it.
  class Words {
    constructor(texts) {
      const numbers = new Map();
      const lists = texts.map((text) =>
        split(text).map((word) => {
          if (!numbers.has(word)) numbers.set(word, numbers.size);
          return numbers.get(word);
        }),
      );
      this.words = Array.from(numbers.keys(), (word) => ` ${word}`);
      this.ends = new Uint32Array(lists.length);
      let end = 0;
      for (const [i, list] of lists.entries()) {
        end += list.length;
        this.ends[i] = end;
      }
      this.numbers = Uint32Array.from(lists.flat());
    }

    // For every text 0, 1 where it has the word with an error, EXACT where one of its words begins with it.
    match(word) {
      const matched = matchWords(this.words, word);
      const found = new Uint8Array(this.ends.length);
      for (let i = 0, at = 0; i < found.length; i++)
        for (; at < this.ends[i]; at++) if (matched[this.numbers[at]] > found[i]) found[i] = matched[this.numbers[at]];
      return found;
    }
  }

  class Search {
    constructor(catalogue) {
      this.catalogue = catalogue;
      const { table } = catalogue.images;
      this.texts = {
        words: new Words(catalogue.words),
        concepts: new Words(catalogue.concepts),
        labels: new Words(table.labels),
        tags: new Words(table.tag_names),
        layers: new Words(
          app.layers.map(
            (layer) => `${layer.name} ${app.report.models[layer.model].label} ${app.report.models[layer.model].key}`,
          ),
        ),
      };
      this.ids = null; // by image, when they have been loaded
      this.kept = new Map();
    }

    // Image ids and captions lie in chunks, and are read once somebody searches; true when they have just come.
    async loadIds() {
      if (this.ids) return false;
      const { images } = this.catalogue;
      const ids = new Array(images.count).fill("");
      for (let n = 0; n < images.count; n += images.chunk) {
        const part = await app.load(`images/${Math.floor(n / images.chunk)}`);
        for (const [i, id] of part.id.entries())
          ids[part.first + i] = part.caption?.[i] ? `${id} ${part.caption[i]}` : id;
      }
      this.ids = new Words(ids);
      this.kept.clear();
      return true;
    }

    // { scores: how well each feature fits, 0 for not at all }, or null for no search. Every word has to be found.
    find(text) {
      const address = this.address(text.trim());
      if (address) return { scores: address };
      const words = [...new Set(split(text))];
      if (!words.length) return null;
      const scores = new Float32Array(this.catalogue.count);
      words.forEach((word, i) => {
        const found = this.score(word);
        for (let g = 0; g < scores.length; g++)
          scores[g] = found[g] && (scores[g] || i === 0) ? scores[g] + found[g] : 0;
      });
      return { scores };
    }

    // ":12", "blocks.5.mlp.hidden:12" or "clip/blocks.5.mlp.hidden:12" name features by themselves.
    address(text) {
      const parts = /^(.*):(\d+)$/.exec(text);
      if (!parts) return null;
      const scores = new Float32Array(this.catalogue.count);
      const index = Number(parts[2]);
      const place = app.fold(parts[1]);
      let known = !place;
      for (const layer of app.layers) {
        const { key, label } = app.report.models[layer.model];
        const names = [layer.name, `${key}/${layer.name}`, `${label} ${layer.name}`].map(app.fold);
        if (place && !names.includes(place)) continue;
        known = true;
        if (index < layer.count) scores[layer.start + index] = 1;
      }
      return known ? scores : null;
    }

    // How well a word fits each feature.
    score(word) {
      const known = this.kept.get(word);
      if (known) return known;
      const scores = this.scoreFeatures(word);
      this.kept.set(word, scores);
      if (this.kept.size > KEPT_WORDS) this.kept.delete(this.kept.keys().next().value);
      return scores;
    }

    scoreFeatures(word) {
      const { catalogue } = this;
      const { columns } = catalogue;
      const scores = new Float32Array(catalogue.count);
      const images = this.scoreImages(word);
      const layers = this.texts.layers.match(word);
      const words = this.texts.words.match(word);
      const concepts = this.texts.concepts.match(word);
      const across = columns.top.shape[1];
      for (const [l, layer] of app.layers.entries()) {
        for (let g = layer.start; g < layer.start + layer.count; g++) {
          let score = WEIGHTS.layer * layers[l];
          if (columns.word) score = Math.max(score, WEIGHTS.word * (words[columns.word[g]] || 0));
          if (columns.named) score = Math.max(score, WEIGHTS.named * (words[columns.named[g]] || 0));
          if (columns.concept) {
            score = Math.max(score, WEIGHTS.concept * (concepts[columns.concept[3 * g]] || 0));
            score = Math.max(
              score,
              WEIGHTS.other * (concepts[columns.concept[3 * g + 1]] || concepts[columns.concept[3 * g + 2]] || 0),
            );
          }
          for (let i = across * g; i < across * (g + 1); i++) score += images[columns.top[i]] || 0;
          scores[g] = score;
        }
      }
      return scores;
    }

    scoreImages(word) {
      const { images } = this.catalogue;
      const labels = this.texts.labels.match(word);
      const tags = this.texts.tags.match(word);
      const lists = images.table.tag_lists.map((list) => list.reduce((best, tag) => Math.max(best, tags[tag]), 0));
      const ids = this.ids ? this.ids.match(word) : null;
      const scores = new Uint8Array(images.count);
      for (let n = 0; n < scores.length; n++) {
        const label = WEIGHTS.label * (labels[images.labels[n]] || 0);
        const tag = WEIGHTS.tag * (lists[images.tagLists[n]] || 0);
        scores[n] = Math.max(label, tag, ids ? WEIGHTS.id * ids[n] : 0);
      }
      return scores;
    }
  }

  // The same for words, each with a space before it.
  function matchWords(words, word) {
    const found = new Uint8Array(words.length);
    const latin = /^[a-z\d]+$/.test(word);
    if (latin && word.length > 2) for (const i of fuzzy.filter(words, word) || []) found[i] = 1;
    const beginning = latin ? ` ${word}` : word; // scripts without spaces between words
    for (let i = 0; i < words.length; i++) if (words[i].includes(beginning)) found[i] = EXACT;
    return found;
  }

  app.Search = Search;
})();
