/** The command that asks the same question from a shell. */

/** One word for a POSIX shell, whatever is in it. */
export const shellQuoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/**
 * @param {string} address
 * @param {object} body
 * @param {boolean} isStream shows each event as it comes
 */
export function curlCommand(address, body, isStream = false) {
  const parts = [
    `curl ${isStream ? "-sN" : "-s"} ${shellQuoted(address)}`,
    `-H ${shellQuoted("Content-Type: application/json")}`,
    `-d ${shellQuoted(JSON.stringify(body))}`,
  ];
  return parts.join(" \\\n  ");
}
