// Find contracts that the server has, so that the forms can be sent as they are.

/** @typedef {import("./main.js").Access} Access */
/** @typedef {{id?: string, market?: string, timestamp?: string, expired?: boolean,
 *   delisted?: boolean}} Report */

/**
 * Return values for parameters, by the parameter's name; none if the server does not tell.
 *
 * @param {Record<string, any>} whole the OpenAPI document
 * @param {Access} access
 * @returns {Promise<Record<string, string>>}
 */
export async function contractsOf(whole, access) {
  const status = await answerOf(whole, access, "getStatus", {});
  const all = Object.entries(/** @type {Record<string, Report>} */ (status?.contracts ?? {}));
  const listed = all.filter(([, each]) => !each.expired && !each.delisted);
  const [name, contract] = listed.find(([, each]) => each.timestamp) ?? listed[0] ?? [];
  if (!name || !contract?.id || name.startsWith("id:")) {
    return {};
  }
  /** @type {Record<string, string>} */
  const found = {
    contract_name: name,
    contract_names: name,
    contract_id: contract.id,
    contract_ids: contract.id,
    Search_char: [...name].slice(0, 3).join(""),
  };
  if (contract.market) {
    found.market = contract.market;
  }
  const option = listed.find(([, each]) => each.market === "IMEOption");
  if (option) {
    const asked = { contract_names: option[0] };
    const [fields] = (await answerOf(whole, access, "getStaticDataByName", asked))?.Data ?? [];
    const underlying =
      fields?.UnderlyingAssets_symbolName_or_contractName ??
      fields?.UnderlyingAssets_symbolIsin_or_contractId;
    if (underlying) {
      found.underlying = underlying;
    }
  }
  return found;
}

/**
 * Make a call of the document; null if it cannot be made or is refused.
 *
 * @param {Record<string, any>} whole
 * @param {Access} access
 * @param {string} operationId
 * @param {Record<string, string>} query
 * @returns {Promise<any>}
 */
async function answerOf(whole, access, operationId, query) {
  const [path, item] =
    Object.entries(whole.paths ?? {}).find(([, each]) => each.get?.operationId === operationId) ??
    [];
  // Without a token it would only be refused.
  if (!path || (item.get.security?.length && !access.token())) {
    return null;
  }
  const url = new URL(path.replace(/^\//, ""), access.base);
  url.search = new URLSearchParams(query).toString();
  const headers = access.token() ? { Authorization: `Bearer ${access.token()}` } : {};
  try {
    const answer = await fetch(url, { headers, cache: "no-store" });
    return answer.ok ? await answer.json() : null;
  } catch {
    // Unreachable, or a token that cannot be sent: the forms keep the document's examples.
    return null;
  }
}
