// Checks an IBAN while it is typed: its country's length and its check digits (ISO 13616, ISO 7064).

const LENGTHS = `AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27
  DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 IE22 IL23
  IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 MK19 MN20 MR27 MT31
  MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 SC31 SD18 SE24 SI19 SK24 SM27
  SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30`;

const LENGTH = Object.fromEntries(
  LENGTHS.trim().split(/\s+/).map((entry) => [entry.slice(0, 2), Number(entry.slice(2))]),
);

/** `{value}` without blanks, `{}` for nothing, or `{error}`; `partial`: more may follow. */
export function readIban(typed) {
  const compact = typed.replace(/\s/g, "").toUpperCase();
  if (!compact) return {};
  if (!/^[A-Z0-9]+$/.test(compact)) return { error: "An IBAN has letters and digits alone." };
  const country = compact.slice(0, 2);
  const length = LENGTH[country];
  if (compact.length >= 2 && length === undefined) {
    return { error: `${country} is no country with IBANs.` };
  }
  if (compact.length < (length ?? 15)) {
    const such = length === undefined ? "" : ` of ${length}`;
    return { error: `${compact.length}${such} characters so far.`, partial: true };
  }
  if (compact.length > length) return { error: `An IBAN of ${country} has ${length} characters.` };
  if (!/^[A-Z]{2}[0-9]{2}/.test(compact) || rest97(compact) !== 1) {
    return { error: "The check digits do not fit: look for a digit that is wrong." };
  }
  return { value: compact };
}

/** An IBAN in groups of four. */
export function inGroups(compact) {
  return compact.replace(/(.{4})(?=.)/g, "$1 ");
}

function rest97(compact) {
  const turned = compact.slice(4) + compact.slice(0, 4);
  let rest = 0;
  for (const sign of turned) {
    const value = parseInt(sign, 36);
    rest = (rest * (value > 9 ? 100 : 10) + value) % 97;
  }
  return rest;
}
