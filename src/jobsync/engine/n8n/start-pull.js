// Where this pull begins, and up to when it will have read. What changes while we read gets a later time, so the next pull
// begins a little before this one began: jobs are read twice rather than not at all. It never goes backwards.
const since = $('Get Sync State').first(0).json.value;
const began = Date.now();
const overlap = $('Settings').first(0).json.overlapMinutes * 60000;
const until = new Date(Math.max(new Date(since).getTime(), began - overlap)).toISOString();
return [{ json: { since, until, began, page: 1, hasMore: true, pulled: 0, stored: 0, rejected: [] } }];
