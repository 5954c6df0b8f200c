// The units whose jobs are pushed here, as the database says: somebody else than JobSync delivers them ("external"), they
// are switched on, and "Settings" holds the URL of their inbound hook. The others are named in the log.
const hooks = $('Settings').first(0).json.hooks;
const units = [];
const withoutHook = [];
for (const unit of $input.first().json.body) {
  if (unit.deliverer !== 'external' || !unit.sync_enabled || !unit.sync_to_ghl) continue;
  const found = { id: unit.st_business_unit_id, name: unit.name };
  (hooks[found.id]?.url ? units : withoutHook).push(found);
}
const [unit = null, ...rest] = units;
return [{ json: { unit, rest, withoutHook, began: Date.now(), pushed: 0, failed: 0, errors: {} } }];
