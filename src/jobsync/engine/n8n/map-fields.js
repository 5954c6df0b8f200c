// What GoHighLevel is told about a job. Your workflow is mapped to these names: add new ones at the end.
const { unit } = $('This Round').first(0).json;
const hook = $('Settings').first(0).json.hooks[unit.id].url;
const text = (value) => (value === null || value === undefined ? '' : String(value).trim());
const plain = (html) => text(html).replace(/<[^>]*>/g, ' ').replace(/&nbsp;/g, ' ').replace(/&lt;/g, '<').replace(/&gt;/g, '>')
  .replace(/&quot;/g, '"').replace(/&#39;/g, "'").replace(/&amp;/g, '&').replace(/\s+/g, ' ').trim();
return $input.all().map(({ json: job }, index) => ({
  json: { hook, body: {
    job_id: text(job.st_job_number) || String(job.st_job_id),
    customer_id: job.st_customer_id,
    Job_description: plain(job.summary || job.description),
    location_id: job.st_location_id,
    Name: [text(job.first_name), text(job.last_name)].filter(Boolean).join(' ') || text(job.company_name),
    street: text(job.street),
    city: text(job.city),
    state: text(job.state),
    postal_code: text(job.postal_code),
    country: text(job.country),
    county: text(job.county),
    phone: text(job.phone),
    email: text(job.email),
    opportunity_name: `Job Type: ${text(job.job_type_name) || 'Unknown'}`,
    first_name: text(job.first_name),
    last_name: text(job.last_name),
    st_job_id: job.st_job_id,
    st_customer_id: job.st_customer_id,
    business_unit: unit.name,
    job_status: text(job.job_status),
    job_type: text(job.job_type_name),
    total: job.total,
    event: 'created',
    version: 1,
    // The same whenever this job is sent: a workflow can tell by it that it knows the job already.
    delivery_id: `n8n-${job.st_job_id}`,
    occurred_at: job.created_on,
  } },
  pairedItem: index,
}));
