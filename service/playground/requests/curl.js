/** curl command for a request. */

import { apiKey } from "./api_key.js";

const HEADER = "-H 'Content-Type: application/json'";
/** The key itself is not shown, since commands are copied into chats and tickets. */
const KEY_HEADER = '-H "Authorization: Bearer $UNROLL_API_KEY"';
const headers = () => (apiKey() ? [KEY_HEADER, HEADER] : [HEADER]);
/** Placeholder in the JSON for the content of a file. */
const FILE_GOES_HERE = "FILE-GOES-HERE";

/** Quote a text as one word for a POSIX shell. */
export const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * @param {string} address
 * @param {object} body
 * @param {boolean} isStream print events as they arrive
 */
export function curlCommand(address, body, isStream = false) {
  const parts = [
    `curl ${isStream ? "-sN" : "-s"} ${shellQuoted(address)}`,
    ...headers(),
    `-d ${shellQuoted(JSON.stringify(body))}`,
  ];
  return parts.join(" \\\n  ");
}

/**
 * The same, with the long part of the body read from a file in the folder where the command runs.
 * @param {string} address
 * @param {object} body
 * @param {import("./attachment.js").Attachment} attachment
 */
export function curlCommandWithFile(address, body, { name, field }) {
  const curl = [`curl -s ${shellQuoted(address)}`, ...headers()];
  if (!field) return [...curl, `-d @${name}`].join(" \\\n  ");
  const json = JSON.stringify({ ...body, inputs: { ...body.inputs, [field]: FILE_GOES_HERE } });
  const format = json.replaceAll("\\", "\\\\").replaceAll("%", "%%").replace(FILE_GOES_HERE, "%s");
  const filled = `printf ${shellQuoted(format)} \\\n  "$(base64 < ${name} | tr -d '\\n')" |`;
  return `${filled}\n${[...curl, "-d @-"].join(" \\\n  ")}`;
}
