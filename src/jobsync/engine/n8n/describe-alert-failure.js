// An alert that could not be sent is a failed run itself.
const { error } = $input.first().json;
const said = String(error?.message ?? error?.description ?? error).replace(/https?:\/\/\S+/g, '(address)');
return [{ json: {
  syncType: 'n8n_alert',
  status: 'failed',
  errorMessage: `"${$prevNode.name}" failed: ${said}`.slice(0, 500),
  workflowExecutionId: String($execution.id),
} }];
