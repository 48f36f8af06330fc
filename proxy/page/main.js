/** The page's frame: who is logged in, which screen is shown, the theme, the keys, and what is said aloud. */

import * as api from "./api.js";
import { button, clear, h, keepHere, problem, say } from "./dom.js";
import { isForThePage, showKeys } from "./keys.js";
import { showLogin } from "./login.js";

/** @type {Record<string, () => Promise<PageScreen>>} */
const SCREENS = {
  live: () => import("./live.js"),
  generation: () => import("./generation.js"),
  usage: () => import("./usage.js"),
  playground: () => import("./playground.js"),
  health: () => import("./health.js"),
  api: () => import("./api_page.js"),
};
/** @type {[name: string, label: string][]} */
const NAV = [["live", "Live"], ["usage", "Usage"], ["playground", "Playground"], ["health", "Health"], ["api", "API"]];
const THEMES = ["auto", "light", "dark"];
/** What is said to somebody whom the proxy led here. @type {Record<string, string>} */
const CAME = {
  once_used: "This link was used before, or is too old. Log in with a token.",
  wrong: "This is no token that the proxy knows.",
};
/** Milliseconds for which a lost connection is nobody's business: most come back at once. */
const LOST_FOR = 1200;

const top = /** @type {HTMLElement} */ (document.getElementById("top"));
const root = /** @type {HTMLElement} */ (document.getElementById("screen"));
const banner = /** @type {HTMLElement} */ (document.getElementById("connection"));
const announcer = /** @type {HTMLElement} */ (document.getElementById("announcer"));

/** @type {Me | null} */
let me = null;
/** @type {() => void} */
let leave = () => undefined;
let shown = 0;
let lost = 0;

/** Say something to those who listen; the same words twice are said twice. @param {string} text */
function announce(text) {
  announcer.textContent = "";
  setTimeout(() => say(announcer, text), 50);
}

/** The screen, the query and the id that an address names. @param {string} hash */
function place(hash) {
  const [path, query] = hash.replace(/^#\/?/, "").split(/\?(.*)/s);
  const [name, ...id] = (path ?? "").split("/");
  return { name: name || "live", id: decoded(id.join("/")), query: new URLSearchParams(query) };
}

/** @param {string} text */
function decoded(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

async function showScreen() {
  if (!me) return;
  const { name, id, query } = place(location.hash);
  const turn = (shown += 1);
  leave();
  leave = () => undefined;
  connection();
  for (const link of top.querySelectorAll("nav a")) {
    if (link.getAttribute("href") === `#/${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const load = Object.hasOwn(SCREENS, name) ? SCREENS[name] : undefined;
  const screen = await load?.().catch(() => null);
  if (turn !== shown || !me) return;
  clear(root);
  root.className = `screen-${name}`;
  if (!screen) {
    root.append(problem(load ? "This screen could not be loaded. Reload the page." : "There is no such screen. Choose one above."));
    return;
  }
  document.title = `${screen.title} · Quell`;
  leave = screen.show(root, query, { me, api, navigate, setQuery, announce }, id);
  if (turn > 1) root.focus({ preventScroll: true });
  scrollTo(0, 0);
}

/** @param {string} hash */
function navigate(hash) {
  location.hash = hash;
}

/** Write a screen's state into the address without showing the screen anew. @param {URLSearchParams} params */
function setQuery(params) {
  const path = location.hash.split("?")[0] || "#/live";
  history.replaceState(null, "", params.size ? `${path}?${params}` : path);
}

function drawTop() {
  if (!me) return;
  const theme = button("", "quiet small", nextTheme);
  nameTheme(theme);
  clear(top,
    h("a", { class: "brand", href: "#/live" }, h("img", { src: "/ui/icon.svg", alt: "", width: "22", height: "22" }), "Quell"),
    h("nav", { "aria-label": "Screens" }, NAV.map(([name, label]) => h("a", { href: `#/${name}` }, label))),
    h("div", { class: "top-end" },
      h("span", { class: "who muted", title: `Role ${me.role} · replica ${me.replica} · version ${me.version}` }, me.name === me.role ? me.name : `${me.name} (${me.role})`),
      theme,
      button("?", "quiet small", showKeys, { "aria-label": "Keys", title: "Keys (?)" }),
      button("Log out", "quiet small", logOut),
    ),
  );
  top.hidden = false;
}

/** @param {MouseEvent} event */
function nextTheme(event) {
  const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % THEMES.length] ?? "auto";
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  keepHere("quell-theme", next);
  if (event.currentTarget instanceof HTMLElement) nameTheme(event.currentTarget);
}

/** @param {HTMLElement} button */
function nameTheme(button) {
  say(button, `Theme: ${document.documentElement.dataset.theme ?? "auto"}`);
}

async function logOut() {
  await api.post("/ui/logout").catch(() => undefined);
  askToken("You are logged out.");
}

/** @param {string} why */
function askToken(why) {
  if (root.className === "screen-login") return;
  leave();
  leave = () => undefined;
  shown += 1;
  me = null;
  top.hidden = true;
  connection();
  for (const dialog of document.querySelectorAll("dialog")) dialog.close();
  document.title = "Log in · Quell";
  root.className = "screen-login";
  showLogin(root, why, begin);
}

/** What is known of the connection; without a state nobody holds one any more. @param {string} [state] */
function connection(state) {
  if (state === "lost") {
    lost ||= window.setTimeout(() => {
      say(banner, "The connection to the proxy is lost. What is shown may be old; it is tried again by itself.");
      banner.hidden = false;
    }, LOST_FOR);
    return;
  }
  clearTimeout(lost);
  lost = 0;
  if (state && !banner.hidden) announce("The connection is back.");
  banner.hidden = true;
}

/** @param {KeyboardEvent} event */
function key(event) {
  if (!me || !isForThePage(event)) return;
  const screen = NAV[Number(event.key) - 1];
  if (event.key === "?") showKeys();
  else if (screen) navigate(`#/${screen[0]}`);
  else return;
  event.preventDefault();
}

async function begin() {
  try {
    me = await api.get("/api/me");
  } catch (error) {
    if (!(error instanceof api.ApiError)) throw error;
    if (error.status === 401) return;
    clear(root, problem(error.message), button("Try again", "", begin));
    return;
  }
  drawTop();
  await showScreen();
}

api.session.addEventListener("lost", () => {
  const came = new URLSearchParams(location.search).get("login") ?? "";
  askToken(me ? "Your session ended, or the proxy was started anew. Log in again." : CAME[came] ?? "");
});
api.session.addEventListener("connection", (event) => connection(/** @type {CustomEvent<string>} */ (event).detail));
window.addEventListener("hashchange", showScreen);
document.addEventListener("keydown", key);
document.querySelector(".skip")?.addEventListener("click", (event) => {
  event.preventDefault();
  root.focus();
});
begin();
