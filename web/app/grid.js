// @ts-check

/** Tiles may be this much wider or higher than 16:9, which crops at most a third of the picture. */
const WIDEST = (16 / 9) * 1.5;
const NARROWEST = 16 / 9 / 1.5;

/**
 * The largest equal tiles that fit: every number of columns is tried.
 * @param {number} count
 * @param {number} width
 * @param {number} height
 * @param {number} [gap]
 * @returns {{left: number, top: number, width: number, height: number}[]}
 */
export function layout(count, width, height, gap = 10) {
  let best = { area: 0, columns: 1, width: 0, height: 0 };
  for (let columns = 1; columns <= count; columns += 1) {
    const rows = Math.ceil(count / columns);
    const roomW = (width - gap * (columns - 1)) / columns;
    const roomH = (height - gap * (rows - 1)) / rows;
    if (roomW <= 0 || roomH <= 0) continue;
    const w = Math.min(roomW, roomH * WIDEST);
    const h = Math.min(roomH, roomW / NARROWEST);
    // What shows of a 16:9 picture counts, not the area of the tile.
    const area = Math.min(w, (h * 16) / 9) * Math.min(h, (w * 9) / 16);
    if (area > best.area) best = { area, columns, width: w, height: h };
  }
  const rows = Math.ceil(count / best.columns);
  const top = (height - rows * best.height - (rows - 1) * gap) / 2;
  return Array.from({ length: count }, (_, n) => {
    const row = Math.floor(n / best.columns);
    const inRow = row === rows - 1 ? count - row * best.columns : best.columns;
    const left = (width - inRow * best.width - (inRow - 1) * gap) / 2;
    const column = n - row * best.columns;
    return {
      left: left + column * (best.width + gap),
      top: top + row * (best.height + gap),
      width: best.width,
      height: best.height,
    };
  });
}
