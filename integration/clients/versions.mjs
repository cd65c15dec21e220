// Loads the packages named as arguments and prints each with its version.
import { readFileSync } from "node:fs";

for (const name of process.argv.slice(2)) {
  await import(name);
  const manifest = new URL(`node_modules/${name}/package.json`, import.meta.url);
  console.log(name, JSON.parse(readFileSync(manifest, "utf8")).version);
}
