// What each answer of GoHighLevel means, and for which job: the answer itself does not name the job, so it is looked up by
// the place of the item. A hook has two kinds of 200: one with an id (taken), and "test request received" (the workflow's
// trigger is not saved or not published: nothing will happen).
const jobs = $('Map Fields').all(0);
const answers = $input.all();
if (answers.length !== jobs.length) throw new Error(`${jobs.length} jobs were sent and ${answers.length} answers came.`);

function judge({ error, statusCode, body }) {
  if (error !== undefined) {
    const said = String(error.code ?? error.message ?? error).replace(/https?:\/\/\S+/g, '(address)').slice(0, 200);
    return `The hook did not answer (${said}).`;
  }
  if (statusCode < 200 || statusCode > 299) return `The hook refused (HTTP ${statusCode}).`;
  const text = typeof body === 'string' ? body : JSON.stringify(body ?? '');
  if (!body?.id && text.toLowerCase().includes('test request received')) {
    return 'GoHighLevel took the job for a test sample: save and publish the workflow, then mark the job pending.';
  }
  return null;
}

const errors = {};
const marks = answers.map((answer, index) => {
  const paired = answer.pairedItem?.item ?? index;
  const problem = judge(answer.json);
  if (problem) errors[problem] = (errors[problem] ?? 0) + 1;
  return { stJobId: jobs[paired].json.body.st_job_id, ...(problem ? { status: 'failed', error: problem } : { status: 'synced' }) };
});
return [{ json: { marks, errors } }];
