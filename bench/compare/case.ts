/** What is compared. Steps are what contenders do and are timed; cases are what is reported of them. */

/** In this order, each on what the one before left. */
export const steps = ['full', 'changed', 'unchanged', 'restore'] as const;

export type StepName = (typeof steps)[number];

export type CaseName = StepName | 'store';

export interface Case {
  readonly name: CaseName;
  readonly title: string;
  readonly unit: 's' | 'MiB';
  /** The steps that it needs. */
  readonly needs: readonly StepName[];
}

export const cases: readonly Case[] = [
  { name: 'full', title: 'first full', unit: 's', needs: ['full'] },
  { name: 'changed', title: 'changed pair', unit: 's', needs: ['full', 'changed'] },
  { name: 'unchanged', title: 'unchanged pair', unit: 's', needs: ['full', 'changed', 'unchanged'] },
  { name: 'restore', title: 'restore both, not synced', unit: 's', needs: ['full', 'changed', 'restore'] },
  { name: 'store', title: 'store after both moments', unit: 'MiB', needs: ['full', 'changed'] },
];

/** The steps that some cases need, in order. */
export function stepsFor(wanted: readonly CaseName[]): StepName[] {
  const needed = new Set(cases.filter(({ name }) => wanted.includes(name)).flatMap(({ needs }) => needs));
  return steps.filter((step) => needed.has(step));
}
