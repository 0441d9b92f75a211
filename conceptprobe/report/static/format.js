"use strict";
// Numbers in words, the same on every page.
(function () {
  const app = window.conceptprobe;
  const UNKNOWN = "–";
  const missing = (value) => value === null || value === undefined || Number.isNaN(value);

  const format = {
    number: (value, digits = 3) => (missing(value) ? UNKNOWN : plain(value, digits)),
    share: (value) => (missing(value) ? UNKNOWN : `${plain(100 * value, shareDigits(value))} %`),
    // A probability: 0.043, 0.0004, 3e-8.
    p: (value) => (missing(value) ? UNKNOWN : value !== 0 && value < 1e-4 ? value.toExponential(0) : plain(value, 2)),
    count: (value) => (missing(value) ? UNKNOWN : value.toLocaleString("en")),
    plural: (count, word, many = `${word}s`) => `${count.toLocaleString("en")} ${count === 1 ? word : many}`,
  };

  // Two digits, or as many as keep what is not all from looking like it.
  function shareDigits(value) {
    let digits = 2;
    while (value < 1 && digits < 6 && Number((100 * value).toPrecision(digits)) >= 100) digits++;
    return digits;
  }

  // Significant digits without an exponent where the number is of a usual size.
  function plain(value, digits) {
    if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
    const rounded = Number(value.toPrecision(digits));
    const size = Math.abs(rounded);
    const text = size !== 0 && (size < 1e-4 || size >= 1e6) ? rounded.toExponential() : String(rounded);
    return text.replace("-", "−");
  }

  app.format = format;
})();
