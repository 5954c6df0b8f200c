// What went wrong with pushing, for JobSync's log. Jobs that were taken and not marked come again when their lease ends;
// those that were sent and could not be marked are named, for they may come twice.
const { error } = $input.first().json;
const said = String(error?.message ?? error?.description ?? error).replace(/https?:\/\/\S+/g, '(address)');
const where = $prevNode.name;
const sent = where === 'Mark Jobs' ? $('Judge Answers').first(0).json.marks.filter((mark) => mark.status === 'synced').map((mark) => mark.stJobId) : [];
return [{ json: {
  syncType: 'n8n_push',
  status: 'failed',
  errorMessage: `"${where}" failed: ${said}`.slice(0, 500),
  errorDetails: sent.length ? { sentButNotMarked: sent } : null,
  workflowExecutionId: String($execution.id),
} }];
