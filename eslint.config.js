/**
 * Lint of the TypeScript and of the scripts.
 *
 * The strict and stylistic sets of typescript-eslint, with types; what differs from them says why.
 */

import js from '@eslint/js';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

const injected = 'time and chance come through the injected clock and random source (docs/architecture.md)';

/** The only files that may ask the machine for the time, wait, or draw random bytes. */
const timeAndChance = [
  'src/store/clock.ts', // the clock that is injected everywhere else
  'src/store/random.ts', // the random source that is injected everywhere else
  'src/store/wait.ts', // waits between two looks at the pressure; no result depends on when
  'src/native/live.ts', // a timer that keeps the process alive while requests are under way, and never fires
  'src/native/follow.ts', // polls the engine's progress counters; no result depends on when
];

/** Members of globals that give time or chance. */
const impureMembers = [
  ['Date', 'now'],
  ['Math', 'random'],
  ['performance', 'now'],
  ['process', 'hrtime'],
  ['process', 'getBuiltinModule'], // of node:crypto too
  ['crypto', 'randomUUID'],
  ['crypto', 'getRandomValues'],
];

export default defineConfig(
  {
    ignores: [
      'dist/',
      'dist.new/',
      'dist.old/',
      'native/',
      '.cache/',
      'src/native/generated/',
      '**/fixtures/**/*.json',
    ],
  },
  {
    linterOptions: {
      reportUnusedDisableDirectives: 'error',
    },
  },
  {
    files: ['**/*.{js,mjs,cjs}'],
    extends: [js.configs.recommended],
    languageOptions: {
      globals: Object.fromEntries(
        [
          ...['AbortController', 'AbortSignal', 'Buffer', 'TextDecoder', 'TextEncoder', 'URL'],
          ...['console', 'performance', 'process', 'structuredClone', 'setTimeout', 'clearTimeout'],
        ].map((name) => [name, 'readonly']),
      ),
    },
  },
  {
    files: ['**/*.ts'],
    extends: [js.configs.recommended, tseslint.configs.strictTypeChecked, tseslint.configs.stylisticTypeChecked],
    languageOptions: {
      parserOptions: {
        // tsconfig.json leaves the configuration of tools out; it is linted all the same.
        projectService: { allowDefaultProject: ['vitest.config.ts'] },
      },
    },
    rules: {
      // Numbers in a message need no String(): nothing is lost and the message stays readable.
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      // `void promise` is how a promise is marked as collected elsewhere; a floating one stays an error.
      '@typescript-eslint/no-meaningless-void-operator': 'off',
      // `() => call()` of a function without a result reads better on one line than as a block.
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      // A switch over a union names every member, so that a new one cannot be forgotten.
      '@typescript-eslint/switch-exhaustiveness-check': ['error', { considerDefaultExhaustiveForUnions: true }],
      // Types are imported as types, so that what is loaded at run time can be read from the imports.
      '@typescript-eslint/consistent-type-imports': ['error', { fixStyle: 'inline-type-imports' }],
      '@typescript-eslint/consistent-type-exports': 'error',
      // An implementation of an asynchronous interface may have nothing to wait for.
      '@typescript-eslint/require-await': 'off',
      // With isolatedDeclarations a type beside a literal is often needed; where it is not, it does no harm.
      '@typescript-eslint/no-inferrable-types': 'off',
      // For texts and numbers `||` also catches the empty one and zero, which is mostly what is meant.
      '@typescript-eslint/prefer-nullish-coalescing': ['error', { ignorePrimitives: { string: true, number: true } }],
      // A parameter that an interface asks for and a function does not need begins with an underscore.
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', caughtErrors: 'all' }],
      eqeqeq: 'error',
      'no-console': 'error',
    },
  },
  {
    files: ['src/**/*.ts'],
    ignores: timeAndChance,
    rules: {
      'no-restricted-globals': [
        'error',
        ...['setTimeout', 'setInterval', 'setImmediate'].map((name) => ({ name, message: injected })),
      ],
      'no-restricted-properties': [
        'error',
        ...impureMembers.map(([object, property]) => ({ object, property, message: injected })),
      ],
      'no-restricted-syntax': [
        'error',
        {
          selector: "NewExpression[callee.name='Date'][arguments.length=0]",
          message: `new Date() without a time reads the clock: ${injected}`,
        },
      ],
      'no-restricted-imports': [
        'error',
        {
          paths: [
            { name: 'node:timers', message: injected },
            { name: 'node:timers/promises', message: injected },
            { name: 'node:perf_hooks', message: injected },
            {
              name: 'node:crypto',
              importNames: [
                'randomBytes',
                'randomFill',
                'randomFillSync',
                'randomInt',
                'randomUUID',
                'getRandomValues',
              ],
              message: injected,
            },
          ],
        },
      ],
    },
  },
  {
    files: ['test/**/*.ts'],
    rules: {
      // `expect.any(String)` and its kin are typed as `any`; they stand in expected values only.
      '@typescript-eslint/no-unsafe-assignment': 'off',
      // `expect(object.method)` names a method without calling it.
      '@typescript-eslint/unbound-method': 'off',
    },
  },
  {
    // Programs talk to whoever started them; the engine's and library's files do not.
    files: ['examples/**/*.ts', 'bench/**/*.ts'],
    rules: { 'no-console': 'off' },
  },
);
