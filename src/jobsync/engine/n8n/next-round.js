// Adds up what was marked, and goes on: the same unit while it may have more, then the next one.
const state = $('This Round').first().json;
const count = $('Get Pending').first().json.count;
const errors = { ...state.errors };
let failed = 0;
if (count > 0) {
  const judged = $('Judge Answers').first().json;
  failed = judged.marks.filter((mark) => mark.status === 'failed').length;
  for (const [problem, jobs] of Object.entries(judged.errors)) errors[problem] = (errors[problem] ?? 0) + jobs;
}
const isDone = count < $('Settings').first().json.pushLimit;
return [{ json: { ...state, at: state.at + (isDone ? 1 : 0), pushed: state.pushed + count, failed: state.failed + failed, errors } }];
