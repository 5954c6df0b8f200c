// One page of jobs, each with its customer in the form that JobSync's /db takes. A customer that ServiceTitan did not give
// goes along by its id alone: what JobSync knows of it stays.
const jobs = $('Get Jobs').first(0).json.data;
const types = new Map($('Get Job Types').first(0).json.data.map((type) => [type.id, type.name]));
const customers = byId($('Get Customers').first(0).json.data);
const locations = byId($('Get Locations').first(0).json.data);
const ofCustomer = byParent($('Get Customer Contacts').first(0).json.data, 'customerId');
const ofLocation = byParent($('Get Location Contacts').first(0).json.data, 'locationId');

function byId(records) {
  return new Map(records.map((record) => [record.id, record]));
}

function byParent(contacts, key) {
  const found = new Map();
  for (const contact of contacts) {
    found.set(contact[key], [...(found.get(contact[key]) ?? []), contact]);
  }
  return found;
}

// Whoever is at the service address first, then who pays.
function best(contacts, kinds) {
  for (const kind of kinds) {
    const found = contacts.find((contact) => contact.type === kind && contact.value);
    if (found) return found.value.trim();
  }
  return undefined;
}

function phone(text) {
  const digits = (text ?? '').replace(/\D/g, '');
  if (digits.length === 10) return '+1' + digits;
  return digits.length === 11 && digits.startsWith('1') ? '+' + digits : text;
}

// "Last, First" or "First Last"; one word is a first name, a company has only its name.
function names(customer) {
  const name = (customer.name ?? '').trim();
  if (customer.type === 'Commercial') return { companyName: name };
  if (name.includes(',')) {
    const [last, first] = name.split(',', 2);
    return { firstName: first.trim(), lastName: last.trim() };
  }
  const words = name.split(/\s+/);
  return { firstName: words.slice(0, -1).join(' ') || name, lastName: words.length > 1 ? words.at(-1) : undefined };
}

function describe(job) {
  const owner = { customerId: job.customerId, locationId: job.locationId || undefined };
  const customer = customers.get(job.customerId);
  if (!customer) return owner;
  const contacts = [...(ofLocation.get(job.locationId) ?? []), ...(ofCustomer.get(job.customerId) ?? [])];
  const { street, unit, city, state, zip, country } = locations.get(job.locationId)?.address ?? customer.address ?? {};
  return {
    ...owner,
    ...names(customer),
    email: best(contacts, ['Email']),
    phone: phone(best(contacts, ['MobilePhone', 'Phone'])),
    address: { street: [street, unit].filter(Boolean).join(', '), city, state, zip, country },
  };
}

return [{ json: { jobs: jobs.map((job) => ({
  job: { ...job, jobTypeName: types.get(job.jobTypeId) },
  customer: describe(job),
})) } }];
