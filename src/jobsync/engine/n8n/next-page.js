// Adds up what was stored, and goes on to the next page while ServiceTitan has one.
const state = $('This Page').first(0).json;
const page = $('Get Jobs').first(0).json;
const report = page.data.length > 0 ? $('Upsert Jobs').first(0).json : { succeeded: 0, errors: [] };
if (state.page >= 2000) throw new Error('ServiceTitan has had a next page for 2,000 pages.');
return [{ json: {
  ...state,
  page: state.page + 1,
  hasMore: page.hasMore === true,
  pulled: state.pulled + page.data.length,
  stored: state.stored + report.succeeded,
  rejected: [...state.rejected, ...report.errors].slice(0, 100),
} }];
