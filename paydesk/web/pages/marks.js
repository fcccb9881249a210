// Where fields stand in a mail: from the service's characters to the browser's, through every edit.

export const FIELD_OF = {
  AMOUNT: "amount",
  CURRENCY: "currency",
  ACCOUNT_A: "accountA",
  ACCOUNT_B: "accountB",
};

/** The service counts code points; a string here counts UTF-16 units, and an emoji has two. */
export function marksOf(text, entities) {
  const wanted = new Set(entities.flatMap((entity) => [entity.start, entity.end]));
  const places = new Map();
  let points = 0;
  let units = 0;
  for (const sign of text) {
    if (wanted.has(points)) places.set(points, units);
    points += 1;
    units += sign.length;
  }
  places.set(points, units);
  return entities
    .map((entity) => ({
      field: FIELD_OF[entity.label],
      start: places.get(entity.start),
      end: places.get(entity.end),
      confidence: entity.confidence,
    }))
    .filter((mark) => mark.field && mark.start < mark.end);
}

/** How much two texts, or two lists, have in common at the beginning, and then at the end. */
export function sameEnds(before, after, same = Object.is) {
  const shorter = Math.min(before.length, after.length);
  let head = 0;
  while (head < shorter && same(before[head], after[head])) head += 1;
  let tail = 0;
  while (tail < shorter - head && same(before[before.length - 1 - tail], after[after.length - 1 - tail])) tail += 1;
  return [head, tail];
}

/** The marks after an edit turned `before` into `after`; those that it touched are gone. */
export function shifted(marks, before, after) {
  const [head, tail] = sameEnds(before, after);
  const end = before.length - tail;
  const by = after.length - before.length;
  return marks.flatMap((mark) => {
    if (mark.end <= head) return [mark];
    if (mark.start >= end) return [{ ...mark, start: mark.start + by, end: mark.end + by }];
    return [];
  });
}

/** The text in pieces, `{text, mark}`; where marks overlap the earlier one is kept. */
export function pieces(text, marks) {
  const found = [];
  let at = 0;
  for (const mark of [...marks].sort((one, other) => one.start - other.start)) {
    if (mark.start < at) continue;
    found.push({ text: text.slice(at, mark.start) }, { text: text.slice(mark.start, mark.end), mark });
    at = mark.end;
  }
  found.push({ text: text.slice(at) });
  return found.filter((piece) => piece.text);
}
