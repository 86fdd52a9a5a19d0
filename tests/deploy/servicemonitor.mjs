// Validates a ServiceMonitor, read as JSON from stdin, against the schema of the Prometheus operator.
// usage: servicemonitor.mjs FOLDER_OF_NODE_MODULES
import { readFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';

const [folder] = process.argv.slice(2);
const models = `${folder}/@kubernetes-models/prometheus-operator/monitoring.coreos.com/v1/index.js`;
const { ServiceMonitor } = await import(pathToFileURL(models));
new ServiceMonitor(JSON.parse(readFileSync(0, 'utf8'))).validate();
console.log('the ServiceMonitor is valid');
