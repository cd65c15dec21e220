// The published conformance tests of the Durable Streams protocol, against the server that the environment names. conformance.json says which of them are run.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

runConformanceTests({ baseUrl: process.env.CONFORMANCE_URL });
