/** The Stop button of one generation: it asks, says "stopping…", and then what really happened. It never moves the focus. */

import { ApiError, post } from "./api.js";
import { h, say } from "./dom.js";
import { resultSentence, resultWords, shortId } from "./words.js";

/** Why somebody has no Stop button that works. @param {Me} me */
export function whyNot(me) {
  return me.can.stop ? "" : `The role ${me.role} can look, not stop. Stopping needs the role operator.`;
}

/**
 * The button, and what presses it from elsewhere.
 * @param {{id: string, taskId: string, whose: string}} what
 * @param {Context} ctx
 * @param {{onDone?: (receipt: Receipt) => void, reason?: () => string}} [more]
 */
export function stopButton(what, ctx, more = {}) {
  const because = whyNot(ctx.me);
  const button = h("button", {
    type: "button", class: "button danger small stop", disabled: Boolean(because), title: because || null,
    "aria-label": `Stop ${shortId(what.taskId)}${what.whose}`,
  }, "Stop");
  let done = Boolean(because);

  /** @param {string} text @param {string} [spoken] */
  function label(text, spoken) {
    say(button, text);
    button.setAttribute("aria-label", spoken ?? `${text}: ${shortId(what.taskId)}`);
  }

  async function press() {
    if (done) return;
    done = true;
    button.setAttribute("aria-disabled", "true");
    label("stopping…");
    try {
      const reason = more.reason?.();
      /** @type {Receipt} */
      const receipt = await post(`/api/generations/${encodeURIComponent(what.id)}/cancel`, reason ? { reason } : {});
      button.classList.add(receipt.result === "stopped" ? "did-stop" : "did-not");
      label(resultWords(receipt));
      ctx.announce(resultSentence(receipt));
      more.onDone?.(receipt);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      done = false;
      button.removeAttribute("aria-disabled");
      button.title = error.message;
      label("Failed, try again", `Stopping ${shortId(what.taskId)} failed: ${error.message} Try again`);
      ctx.announce(`Stopping ${shortId(what.taskId)} failed: ${error.message}`);
    }
  }

  /** It ended, whoever ended it; what this button's own stop did stays on it. @param {string} text */
  function ended(text) {
    if (button.classList.contains("did-stop")) return;
    if (done && !because && button.textContent === "stopping…") return;
    done = true;
    button.setAttribute("aria-disabled", "true");
    button.classList.add("did-not");
    label(text);
  }

  button.addEventListener("click", press);
  return { button, press, ended };
}
