// How JobSync is, worst things first: what it says about itself, the runs of the last day, what waits.
const settings = $('Settings').first(0).json;
const lost = $input.first().json.error;
if (lost !== undefined) {
  const said = String(lost.message ?? lost.description ?? lost);
  const subject = 'JobSync does not answer';
  return [{ json: { healthy: false, subject, text: `${subject} at ${settings.jobsyncUrl}: ${said}` } }];
}
const ready = $('Get Readiness').first(0).json.body;
const day = Date.now() - 24 * 3600000;
const runs = $('Get Runs').first(0).json.logs.filter((log) => new Date(log.started_at).getTime() >= day);
const units = $('Get Units').first(0).json.body;
const waiting = $('Get Pending').first(0).json.count;
const tally = new Map();
for (const run of runs) {
  const line = `${run.sync_type} ${run.status}`;
  const before = tally.get(line) ?? [0, 0, 0];
  tally.set(line, [before[0] + 1, before[1] + (run.records_processed ?? 0), before[2] + (run.records_failed ?? 0)]);
}
const failed = runs.filter((run) => run.status === 'failed').length;
const undecided = units.filter((unit) => unit.deliverer === 'none' && unit.sync_enabled && unit.sync_to_ghl).map((unit) => unit.name);
const healthy = ready.status === 'ready' && failed === 0;
const subject = healthy ? 'JobSync is well' : `JobSync needs you: ${ready.status === 'ready' ? `${failed} failed runs in 24 hours` : 'it is not ready'}`;
const text = [
  subject,
  ...ready.reasons.map((reason) => `- ${reason}`),
  `Mode ${ready.mode}; jobs were read ${ready.lag_seconds === null ? 'not yet' : `${Math.round(ready.lag_seconds / 60)} minutes ago`}.`,
  `Waiting for n8n: ${waiting >= 500 ? '500 jobs or more' : `${waiting} jobs`}.`,
  ...(undecided.length ? [`Units that go nowhere: ${undecided.join(', ')}.`] : []),
  runs.length ? 'Runs of the last 24 hours:' : 'No run in the last 24 hours.',
  ...[...tally].sort().map(([line, [count, records, bad]]) => `- ${line}: ${count} runs, ${records} records${bad ? `, ${bad} failed` : ''}`),
];
return [{ json: { healthy, subject, text: text.join('\n') } }];
