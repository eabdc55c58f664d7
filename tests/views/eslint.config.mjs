// The script of a page as ESLint sees it: plain script, its functions global, in a browser.
const browser = "window document navigator console atob btoa fetch setTimeout clearTimeout requestAnimationFrame performance "
  + "localStorage getComputedStyle devicePixelRatio Blob URL Response TextEncoder TextDecoder DecompressionStream CustomEvent "
  + "MutationObserver ResizeObserver ImageData";

export default [{
  languageOptions: {
    sourceType: "script",
    globals: Object.fromEntries(browser.split(" ").map((name) => [name, "readonly"])),
  },
  rules: Object.fromEntries([
    "no-undef", "no-redeclare", "no-const-assign", "no-dupe-keys", "no-dupe-class-members", "no-dupe-else-if",
    "no-unreachable", "no-fallthrough", "no-self-assign", "no-self-compare", "no-cond-assign", "no-loss-of-precision",
    "no-unsafe-finally", "no-unsafe-negation", "no-var", "prefer-const", "eqeqeq", "use-isnan",
    "valid-typeof",
  ].map((name) => [name, "error"]).concat([
    ["no-unused-vars", ["error", { vars: "local", args: "after-used" }]],
    ["no-unused-expressions", ["error", { allowShortCircuit: true, allowTernary: true }]],
  ])),
}];
