/** What TypeScript files import, read with the compiler's parser. */

import path from 'node:path';

import ts from 'typescript';

export interface TypeScriptImport {
  /** As written, e.g. `../store/errors.js` or `level`. */
  readonly specifier: string;
  /** `export ... from`. */
  readonly isReExport: boolean;
  readonly line: number;
}

function literal(node: ts.Node | undefined): string | null {
  return node !== undefined && ts.isStringLiteralLike(node) ? node.text : null;
}

/** The module that a node names, or null. */
function specifierOf(node: ts.Node): string | null {
  if (ts.isImportDeclaration(node) || ts.isExportDeclaration(node)) return literal(node.moduleSpecifier);
  if (ts.isImportTypeNode(node) && ts.isLiteralTypeNode(node.argument)) return literal(node.argument.literal);
  if (ts.isCallExpression(node)) {
    const isImport = node.expression.kind === ts.SyntaxKind.ImportKeyword;
    const isRequire = ts.isIdentifier(node.expression) && node.expression.text === 'require';
    if (isImport || isRequire) return literal(node.arguments[0]);
  }
  return null;
}

/** All imports of a source: declarations, re-exports, `import()` and `import('x').T`. */
export function typeScriptImports(text: string): TypeScriptImport[] {
  const source = ts.createSourceFile('file.ts', text, ts.ScriptTarget.ESNext, true);
  const imports: TypeScriptImport[] = [];
  const visit = (node: ts.Node): void => {
    const specifier = specifierOf(node);
    if (specifier !== null) {
      const { line } = source.getLineAndCharacterOfPosition(node.getStart());
      imports.push({ specifier, isReExport: ts.isExportDeclaration(node), line: line + 1 });
    }
    ts.forEachChild(node, visit);
  };
  visit(source);
  return imports;
}

/** The path below `src/` without ending that a relative specifier in `file` (below `src/`) means. */
export function targetOf(file: string, specifier: string): string {
  return withoutEnding(path.posix.normalize(path.posix.join(path.posix.dirname(file), specifier)));
}

export function withoutEnding(file: string): string {
  return file.replace(/(\.d)?\.[cm]?[jt]s$/, '');
}

/** The package of a bare specifier: `level`, `@scope/name`. */
export function packageNameOf(specifier: string): string {
  return specifier
    .split('/')
    .slice(0, specifier.startsWith('@') ? 2 : 1)
    .join('/');
}
