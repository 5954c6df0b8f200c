// The records that JobSync refused to store, each with its reason.
return [{ json: { rejected: $('Next Page').first(0).json.rejected } }];
