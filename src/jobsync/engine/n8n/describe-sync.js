// The line that this run leaves in JobSync's log.
const state = $('This Round').first(0).json;
const pull = $('Next Page').isExecuted ? $('Next Page').first(0).json : null;
const problems = Object.entries(state.errors).map(([problem, jobs]) => `${problem} (${jobs} jobs)`);
return [{ json: {
  syncType: 'n8n_sync',
  status: state.failed > 0 ? 'failed' : 'completed',
  entityType: 'job',
  recordsProcessed: state.pushed,
  recordsSucceeded: state.pushed - state.failed,
  recordsFailed: state.failed,
  errorMessage: problems.length ? problems.join(' ').slice(0, 500) : null,
  workflowExecutionId: String($execution.id),
  durationMs: Date.now() - (pull ?? state).began,
  metadata: {
    ...(pull ? { pulled: pull.pulled, stored: pull.stored, read_until: pull.until } : {}),
    units_without_hook: state.withoutHook.map((unit) => unit.name),
  },
} }];
