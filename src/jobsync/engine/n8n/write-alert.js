// The failed runs of the last hour in words; or that JobSync itself did not answer.
const settings = $('Settings').first(0).json;
const { error, logs } = $input.first().json;
const since = Date.now() - settings.windowMinutes * 60000;
if (error !== undefined) {
  const said = String(error.message ?? error.description ?? error);
  return [{ json: { send: true, subject: 'JobSync does not answer', text: `JobSync does not answer at ${settings.jobsyncUrl}: ${said}` } }];
}
const failed = logs.filter((log) => new Date(log.completed_at ?? log.started_at).getTime() >= since);
const groups = new Map();
for (const log of failed) {
  const line = `${log.sync_type}: ${log.error_message ?? 'no reason was given'}`;
  groups.set(line, (groups.get(line) ?? 0) + 1);
}
const lines = [...groups].map(([line, runs]) => (runs > 1 ? `- ${line} (${runs} runs)` : `- ${line}`)).slice(0, 20);
const subject = `JobSync: ${failed.length} failed ${failed.length === 1 ? 'run' : 'runs'} in the last ${settings.windowMinutes} minutes`;
return [{ json: { send: failed.length > 0, subject, text: [subject, ...lines].join('\n') } }];
