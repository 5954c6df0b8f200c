// Adds up what was marked, and goes on: the same unit while it may have more, then the next one.
const state = $('This Round').first(0).json;
const count = $('Get Pending').first(0).json.count;
const errors = { ...state.errors };
let failed = 0;
if (count > 0) {
  const judged = $('Judge Answers').first(0).json;
  failed = judged.marks.filter((mark) => mark.status === 'failed').length;
  for (const [problem, jobs] of Object.entries(judged.errors)) errors[problem] = (errors[problem] ?? 0) + jobs;
}
const isDone = count < $('Settings').first(0).json.pushLimit;
const [next = null, ...rest] = state.rest;
return [{ json: {
  ...state,
  ...(isDone ? { unit: next, rest } : {}),
  pushed: state.pushed + count,
  failed: state.failed + failed,
  errors,
} }];
