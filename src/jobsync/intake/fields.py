"""The fields of customers and jobs, and the names by which files call them. The first name of each is the guide's, or ours."""

from __future__ import annotations

# Of each field: what kind of cell it is, and the names it goes by, the best first. The first is the guide's.
FIELDS: dict[str, dict[str, tuple[str, tuple[str, ...]]]] = {
    "customers": {
        "record_id": (
            "id",
            (
                "ST ID",
                "ST Customer ID",
                "ServiceTitan ID",
                "ServiceTitan Customer ID",
                "Customer ID",
                "Customer Number",
                "Customer No",
                "Customer #",
                "Cust ID",
            ),
        ),
        "st_location_id": ("id", ("Location ID", "ST Location ID", "Location Number", "Location")),
        "first_name": ("text", ("First Name", "First", "Given Name", "Forename")),
        "last_name": ("text", ("Last Name", "Last", "Surname", "Family Name")),
        "full_name": ("text", ("Name", "Full Name", "Customer Name", "Customer", "Contact Name")),
        "company_name": ("text", ("Company Name", "Company", "Business Name", "Organization")),
        "email": ("email", ("Email", "E-mail", "Email Address", "E-mail Address", "Mail")),
        "phone": (
            "phone",
            ("Phone", "Phone Number", "Mobile", "Mobile Phone", "Cell", "Cell Phone", "Telephone", "Primary Phone"),
        ),
        "street": ("text", ("Street", "Street Address", "Address", "Address Line 1", "Address 1")),
        "city": ("text", ("City", "Town")),
        "state": ("text", ("State", "Province", "State/Province", "Region")),
        "postal_code": ("text", ("Postal Code", "Zip", "ZIP Code", "Zipcode", "Postcode")),
        "county": ("text", ("County",)),
        "country": ("text", ("Country",)),
        "ghl_contact_id": (
            "outside",
            ("GHL Contact ID", "GoHighLevel Contact ID", "HighLevel Contact ID", "Contact ID"),
        ),
        "modified": (
            "date",
            ("Modified", "Modified On", "Last Modified", "Last Modified Time", "Updated", "Updated At", "Last Updated"),
        ),
        "airtable_id": ("text", ("Record ID", "Airtable ID", "Airtable Record ID")),
    },
    "jobs": {
        "record_id": ("id", ("Job ID", "ST Job ID", "ServiceTitan Job ID")),
        "st_job_number": ("text", ("Job Number", "Job No", "Job #", "ST Job Number", "Number")),
        "st_customer_id": (
            "link",
            ("Customer ID", "ST Customer ID", "ST ID", "Customer Number", "ServiceTitan Customer ID"),
        ),
        "customer": ("link", ("Customer", "Customers", "Customer Name", "Client")),
        "st_location_id": ("id", ("Location ID", "ST Location ID", "Location")),
        "business_unit_id": ("unit", ("Business Unit ID", "Business Unit", "ST Business Unit ID", "BU", "Unit")),
        "job_type": ("type", ("Job Type", "Job Type Name", "Type")),
        "job_status": ("text", ("Status", "Job Status")),
        "priority": ("text", ("Priority",)),
        "summary": ("text", ("Summary", "Job Description", "Description", "Job Summary")),
        "created_on": ("date", ("Created", "Created On", "Created Date", "Date Created", "Created At", "Created Time")),
        "modified": (
            "date",
            ("Modified", "Modified On", "Last Modified", "Last Modified Time", "Updated", "Updated At", "Last Updated"),
        ),
        "completed_on": ("date", ("Completed", "Completed On", "Completed Date", "Completion Date", "Date Completed")),
        "total": ("money", ("Total", "Job Total", "Amount", "Total Amount", "Invoice Total")),
        "tag_type_ids": ("tags", ("Tags", "Tag", "Job Tags", "Tag Type IDs")),
        "ghl_opportunity_id": (
            "outside",
            ("GHL Opportunity ID", "GoHighLevel Opportunity ID", "HighLevel Opportunity ID", "Opportunity ID"),
        ),
        "ghl_contact_id": (
            "outside",
            ("GHL Contact ID", "GoHighLevel Contact ID", "HighLevel Contact ID", "Contact ID"),
        ),
        "airtable_id": ("text", ("Record ID", "Airtable ID", "Airtable Record ID")),
    },
}
GUIDE_COLUMNS = (
    "ST ID",
    "Location ID",
    "First Name",
    "Last Name",
    "Email",
    "Phone",
    "Street",
    "City",
    "State",
    "Postal Code",
    "County",
)
