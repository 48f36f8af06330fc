/** The login form: the admin token for a cookie that this script can't read. */

import { ApiError, post } from "./api.js";
import { clear, field, h, muted, problem } from "./dom.js";

/**
 * Show the form.
 * @param {HTMLElement} root
 * @param {string} why What is said above it; empty when nothing happened.
 * @param {() => void} done Called when the proxy took the token.
 */
export function showLogin(root, why, done) {
  const token = h("input", {
    type: "password", name: "token", autocomplete: "current-password", required: true, spellcheck: "false",
  });
  const refusal = problem();
  const button = h("button", { class: "button primary", type: "submit" }, "Log in");

  /** @param {SubmitEvent} event */
  async function send(event) {
    event.preventDefault();
    refusal.hidden = true;
    button.disabled = true;
    try {
      await post("/ui/login", { token: token.value });
      done();
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      clear(refusal, refused(error));
      refusal.hidden = false;
      token.select();
      token.focus();
    } finally {
      button.disabled = false;
    }
  }

  clear(root,
    h("section", { class: "login card stack" },
      h("img", { src: "/ui/icon.svg", alt: "", width: "40", height: "40" }),
      h("h1", null, "Quell"),
      why && muted(why),
      h("form", { class: "stack", on: { submit: send } }, field("Admin token", token), refusal, button),
      h("details", null,
        h("summary", null, "Where is the token?"),
        h("p", { class: "hint" }, "In the settings, under ", h("code", null, "admin.token"), " or ", h("code", null, "admin.tokens"),
          ". Without either, the proxy wrote one beside its ledger: ", h("code", null, "quell.db.admin_token"), "."),
        h("p", { class: "hint" }, "On a terminal the proxy prints a link that logs in once, for ten minutes after its start."),
      ),
    ),
  );
  token.focus();
}

/** @param {ApiError} error */
function refused(error) {
  if (error.status === 401 || error.status === 403) return "This is no token that the proxy knows.";
  if (error.status === 429) return `Too many tries. Wait ${error.retryAfter ?? "some"} s, then try again.`;
  return error.message;
}
