/** What the quickstart prints. */

import Table from 'cli-table3';

export function bytes(count) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
  let value = count;
  let unit = 0;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

export function seconds(ms) {
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(2)} s`;
}

export function rate(count, ms) {
  return `${bytes((count / ms) * 1000)}/s`;
}

function table(head, alignment) {
  return new Table({ head, colAligns: alignment, style: { head: [], border: [], compact: true } });
}

/** What each point cost. */
export function pointTable(captures) {
  const rows = table(
    ['point', 'what happened before it', 'disks', 'read', 'new data', 'stored', 'time', 'throughput'],
    ['left', 'left', 'right', 'right', 'right', 'right', 'right', 'right'],
  );
  for (const { point, what, ms } of captures) {
    const size = point.disks.reduce((sum, disk) => sum + disk.sizeBytes, 0);
    const { bytesRead, bytesNew, bytesStored } = point.captured;
    const cells = [
      bytes(size),
      bytes(bytesRead),
      bytes(bytesNew),
      bytes(bytesStored),
      seconds(ms),
      rate(bytesRead, ms),
    ];
    rows.push([point.name, what, ...cells]);
  }
  return rows.toString();
}

/** Every disk of every point, given back. Throughput is that of written bytes: holes cost nothing. */
export function restoreTable(restores) {
  const rows = table(
    ['restored', 'disk', 'size', 'written', 'time', 'throughput', 'SHA-256'],
    ['left', 'left', 'right', 'right', 'right', 'right', 'left'],
  );
  for (const { point, role, sizeBytes, bytesWritten, ms, same } of restores) {
    const verdict = same ? 'as captured' : 'DIFFERS';
    const figures = [bytes(sizeBytes), bytes(bytesWritten), seconds(ms), rate(bytesWritten, ms)];
    rows.push([point.name, role, ...figures, verdict]);
  }
  return rows.toString();
}
