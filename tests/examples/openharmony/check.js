// Checks the ArkTS of examples/phones by OpenHarmony's own TypeScript: its syntax, its types against
// api.d.ts, and what ArkTS leaves out of TypeScript. Prints what is wrong, and exits with 1 then.
// api.d.ts is ours: whether the API is like that, a build with OpenHarmony's SDK tells.

const fs = require('fs');
const path = require('path');
const ts = require('ohos-typescript');

const app = path.join(__dirname, '../../../examples/phones/openharmony/entry/src/main');

function below(folder) {
  return fs.readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const file = path.join(folder, entry.name);
    return entry.isDirectory() ? below(file) : [file];
  });
}

const options = {
  target: ts.ScriptTarget.ES2021,
  lib: ['lib.es2021.d.ts'],
  module: ts.ModuleKind.ES2020,
  moduleResolution: ts.ModuleResolutionKind.NodeJs,
  types: [],
  strict: true,
  strictPropertyInitialization: false,
  noEmit: true,
  experimentalDecorators: true,
  // What of ArkUI the app uses.
  ets: { render: { method: ['build'] }, components: ['Column', 'Button', 'Text'] },
};
const files = below(path.join(app, 'ets'));
const host = ts.createIncrementalCompilerHost(options);
const builder = ts.createIncrementalProgram({
  rootNames: [path.join(__dirname, 'api.d.ts'), ...files],
  options,
  host,
  createProgram: ts.createSemanticDiagnosticsBuilderProgram,
});
const found = [
  ...ts.getPreEmitDiagnostics(builder.getProgram()),
  ...ts.ArkTSLinter_1_1.runArkTSLinter(builder, undefined, undefined, '1.1'),
].filter((each) => each.category === ts.DiagnosticCategory.Error);
process.stdout.write(ts.formatDiagnostics(found, host));
process.exit(found.length ? 1 : 0);
