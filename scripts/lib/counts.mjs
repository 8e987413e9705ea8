/** Counts of tests, read from what cargo prints and from vitest's JSON report. */

/** @typedef {{ passed: number, failed: number, skipped: number }} Counts */

export const noTests = Object.freeze({ passed: 0, failed: 0, skipped: 0 });

export function sum(left, right) {
  return {
    passed: left.passed + right.passed,
    failed: left.failed + right.failed,
    skipped: left.skipped + right.skipped,
  };
}

/** A run that ended badly without naming a test (a crash, a file that does not load) counts as one failure. */
export function withExitCode(counts, code) {
  return code !== 0 && counts.failed === 0 ? { ...counts, failed: 1 } : counts;
}

/** The line that cargo prints at the end of each test program, or null for another line. */
export function cargoCounts(line) {
  const found = /^test result: (?:ok|FAILED)\. (\d+) passed; (\d+) failed; (\d+) ignored;/.exec(line);
  if (found === null) return null;
  const [passed, failed, skipped] = found.slice(1).map(Number);
  return { passed, failed, skipped };
}

/** The counts of a vitest report; a test file that fails without a failed test in it counts as one failure. */
export function vitestCounts(report) {
  const brokenFiles = report.testResults.filter(
    (file) => file.status === 'failed' && !file.assertionResults.some((test) => test.status === 'failed'),
  );
  return {
    passed: report.numPassedTests,
    failed: report.numFailedTests + brokenFiles.length,
    skipped: report.numPendingTests + report.numTodoTests,
  };
}

/** `N passed, N failed`, and `, N skipped` where there are any. */
export function summaryLine(counts) {
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : '';
  return `${counts.passed} passed, ${counts.failed} failed${skipped}`;
}
