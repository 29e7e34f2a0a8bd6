/** Why live recognition ended or could not begin, as sentences that say what to do. */

const KEPT = "The text so far is kept.";

/** By kind; `message` is that of the service. */
const SENTENCES = {
  slow: () => `The service or the network cannot keep up with the sound, so the recording was stopped. ${KEPT}`,
  silent: () => `The service did not send its last answer. ${KEPT}`,
  stopped: () => `The service has stopped and did not come back. ${KEPT} Speak again when it is up.`,
  unopened: () =>
    "The service answers, but opened no stream. It may have as many streams as it allows, or a proxy before it does " +
    "not pass WebSockets on. Try again, or transcribe a file.",
  lost: ({ code }) => `${LOST[code] ?? "The connection to the service was lost."} ${KEPT} Speak again to go on.`,
  refused: refusalOf,
};

const LOST = {
  1009: "The recording is longer than this service takes in one input.",
  1012: "The service is stopping.",
  1013: "The service is busy.",
};

/**
 * @param {keyof typeof SENTENCES} kind
 * @param {object} [message]
 */
export const reasonOf = (kind, message = {}) => SENTENCES[kind](message);

function refusalOf({ error, detail, reasons, retry_after_s: retryAfterS }) {
  const more = [...(detail ?? []).map((entry) => `${entry.field}: ${entry.message}`), ...(reasons ?? [])];
  const again = retryAfterS ? ` Try again in ${Math.ceil(retryAfterS)} s.` : "";
  const said = [error, ...more.filter((sentence) => !error.includes(sentence))].join("; ");
  return `${said.charAt(0).toUpperCase()}${said.slice(1)}.${again} ${KEPT}`;
}
