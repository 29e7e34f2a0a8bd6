/** The command that asks the same question from a shell. */

const HEADER = "-H 'Content-Type: application/json'";
/** Stands in the JSON where the shell puts a file. */
const FILE_GOES_HERE = "FILE-GOES-HERE";

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
    HEADER,
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
  const curl = [`curl -s ${shellQuoted(address)}`, HEADER];
  if (!field) return [...curl, `-d @${name}`].join(" \\\n  ");
  const json = JSON.stringify({ ...body, inputs: { ...body.inputs, [field]: FILE_GOES_HERE } });
  const format = json.replaceAll("\\", "\\\\").replaceAll("%", "%%").replace(FILE_GOES_HERE, "%s");
  const filled = `printf ${shellQuoted(format)} \\\n  "$(base64 < ${name} | tr -d '\\n')" |`;
  return `${filled}\n${[...curl, "-d @-"].join(" \\\n  ")}`;
}
