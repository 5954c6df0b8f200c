// What went wrong with reading or storing, for JobSync's log. The mark in "Get Sync State" stays where it is, unless only
// single records were refused: these are named here, and the rest goes on.
const { error, rejected } = $input.first().json;
const where = $prevNode.name;
const said = error === undefined ? '' : String(error.message ?? error.description ?? error).replace(/https?:\/\/\S+/g, '(address)');
return [{ json: {
  syncType: 'n8n_pull',
  status: 'failed',
  errorMessage: rejected?.length ? `${rejected.length} jobs could not be stored.` : `"${where}" failed: ${said}`.slice(0, 500),
  errorDetails: rejected?.length ? rejected : null,
  recordsFailed: rejected?.length ?? 0,
  workflowExecutionId: String($execution.id),
} }];
