// The records that JobSync refused to store, each with its reason.
return [{ json: { rejected: $('Next Page').first().json.rejected } }];
