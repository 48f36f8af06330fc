/** Making the page's elements. Whatever comes from outside only ever becomes text, never markup. */

/** @typedef {Node | string | number | null | undefined | false | readonly Child[]} Child */
/** @typedef {{on?: Record<string, (event: any) => void>, data?: Record<string, string>, [name: string]: unknown}} Attributes */

const SVG = "http://www.w3.org/2000/svg";
const NONE = "–";
const counts = new Intl.NumberFormat("en");

/**
 * An HTML element. `on` holds its listeners by event, `data` its data attributes; false and null leave an attribute out.
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes | null} [attributes]
 * @param {...Child} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function h(tag, attributes, ...children) {
  return made(document.createElement(tag), attributes, children);
}

/**
 * An SVG element.
 * @template {keyof SVGElementTagNameMap} K
 * @param {K} tag
 * @param {Attributes | null} [attributes]
 * @param {...Child} children
 * @returns {SVGElementTagNameMap[K]}
 */
export function s(tag, attributes, ...children) {
  return made(document.createElementNS(SVG, tag), attributes, children);
}

/**
 * @template {HTMLElement | SVGElement} N
 * @param {N} node
 * @param {Attributes | null | undefined} attributes
 * @param {readonly Child[]} children
 */
function made(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(attributes?.on ?? {})) node.addEventListener(event, listener);
    } else if (name === "data") {
      Object.assign(node.dataset, attributes?.data);
    } else if (value != null && value !== false) {
      node.setAttribute(name, value === true ? "" : String(value));
    }
  }
  append(node, children);
  return node;
}

/**
 * @param {Node} node
 * @param {readonly Child[]} children
 */
function append(node, children) {
  for (const child of children) {
    if (child == null || child === false) continue;
    if (child instanceof Node) node.appendChild(child);
    else if (typeof child === "object") append(node, child);
    else node.appendChild(document.createTextNode(String(child)));
  }
}

/**
 * Take everything out of a node, and put these in.
 * @param {Node} node
 * @param {...Child} children
 */
export function clear(node, ...children) {
  node.textContent = "";
  append(node, children);
}

/**
 * Say something in a node, without touching it when it says so already.
 * @param {Node} node
 * @param {string} text
 */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

export const fmt = {
  /** @param {number | null | undefined} n */
  tokens: (n) => (n == null ? NONE : counts.format(n)),

  /** So many of a thing. @param {number | null | undefined} n @param {string} [thing] */
  many: (n, thing = "token") => `${fmt.tokens(n)} ${thing}${n === 1 ? "" : "s"}`,

  /** A duration for people. @param {number | null | undefined} seconds */
  age(seconds) {
    if (seconds == null) return NONE;
    const whole = Math.max(0, Math.floor(seconds));
    const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor(whole / 3600) % 24, Math.floor(whole / 60) % 60];
    if (days) return `${days}d ${hours}h`;
    if (hours) return `${hours}h ${String(minutes).padStart(2, "0")}m`;
    if (minutes) return `${minutes}m ${String(whole % 60).padStart(2, "0")}s`;
    return `${whole}s`;
  },

  /** Money as its currency writes it. @param {string | number | null | undefined} text @param {string | null} [currency] */
  cost(text, currency) {
    const value = Number(text);
    if (text == null || text === "" || Number.isNaN(value)) return NONE;
    const digits = Math.abs(value) < 0.01 && value !== 0
      ? { minimumSignificantDigits: 2, maximumSignificantDigits: 2 }
      : { minimumFractionDigits: 2, maximumFractionDigits: Math.abs(value) < 1 ? 4 : 2 };
    if (currency && /^[A-Z]{3}$/.test(currency)) {
      return new Intl.NumberFormat("en", { style: "currency", currency, ...digits }).format(value);
    }
    return `${new Intl.NumberFormat("en", digits).format(value)}${currency ? ` ${currency}` : ""}`;
  },

  /** A moment on this reader's clock, with its day when that is not today. @param {string | null | undefined} iso */
  time(iso) {
    if (!iso) return NONE;
    const moment = new Date(iso);
    if (Number.isNaN(moment.getTime())) return iso;
    const clock = moment.toLocaleTimeString("en-GB");
    if (moment.toDateString() === new Date().toDateString()) return clock;
    return `${moment.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${clock}`;
  },

  /** Milliseconds. @param {number | null | undefined} n */
  ms(n) {
    if (n == null) return NONE;
    if (n >= 1000) return `${(n / 1000).toFixed(2)} s`;
    if (n >= 100) return `${Math.round(n)} ms`;
    return `${n.toFixed(n < 1 ? 2 : 1)} ms`;
  },
};

/** A sentence beside what matters. @param {...Child} children */
export const muted = (...children) => h("p", { class: "muted" }, children);

/** A sentence about what went wrong; it is said aloud too. @param {Child} [text] */
export const problem = (text = "") => h("p", { class: "error", role: "alert", hidden: !text }, text);

/** What this browser keeps under a name; null: nothing, or it keeps nothing at all. @param {string} name */
export function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

/** Have this browser keep something; one that keeps nothing forgets it with the page. @param {string} name @param {string} value */
export function keepHere(name, value) {
  try {
    localStorage.setItem(name, value);
  } catch {
    // it then lasts as long as the page
  }
}

/**
 * A button; `kind` are the classes that say what kind of one.
 * @param {Child} label
 * @param {string} kind
 * @param {(event: any) => void} click
 * @param {Attributes} [more]
 */
export function button(label, kind, click, more) {
  return h("button", { type: "button", class: `button ${kind}`, on: { click }, ...more }, label);
}

/**
 * A button that copies a text, and says whether it did.
 * @param {() => string} getText
 * @param {string} label What is copied, such as "task id".
 */
export function copyButton(getText, label) {
  const word = document.createTextNode("");
  const copier = button(word, "quiet small", async () => {
    try {
      await navigator.clipboard.writeText(getText());
      told("Copied");
    } catch {
      told("Select it by hand"); // the browser does not trust the address
    }
    setTimeout(() => told("Copy"), 1500);
  });
  const told = (/** @type {string} */ text) => {
    word.data = text;
    copier.setAttribute("aria-label", `${text}: ${label}`);
  };
  told("Copy");
  return copier;
}

let fields = 0;

/**
 * A labelled input with an optional hint below.
 * @param {string} label
 * @param {HTMLElement} input
 * @param {string} [hint]
 */
export function field(label, input, hint) {
  fields += 1;
  input.id ||= `field-${fields}`;
  const below = hint ? h("span", { class: "hint", id: `${input.id}-hint` }, hint) : null;
  if (below) input.setAttribute("aria-describedby", below.id);
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input, below);
}
