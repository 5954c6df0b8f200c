"""Customers, their locations and their contacts, with everything that real ones are full of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from .instants import DAY, write_instant
from .tables import Record, encode_row
from .vocabulary import CITIES, COMPANIES, FIRST_NAMES, LAST_NAMES, STREETS

if TYPE_CHECKING:
    from .dataset import Dataset

ZERO = msgspec.Raw(b"0.0000000000")
REACHABLE_BY: tuple[tuple[tuple[str, ...], float], ...] = (
    (("MobilePhone", "Email"), 0.52),
    (("Phone", "MobilePhone", "Email"), 0.14),
    (("Phone", "Email"), 0.08),
    (("Email",), 0.06),
    (("Phone",), 0.06),
    (("MobilePhone", "MobilePhone", "Email", "Email", "Fax"), 0.04),
    (("Fax",), 0.05),
    ((), 0.05),
)
"""Which contacts a customer has, by share: some only a fax, some none at all (contract, section 6, 13)."""
TYPED = (
    "({0}) {1}-{2}", "{0}-{1}-{2}", "{0}{1}{2}", "+1 {0} {1} {2}", "1-{0}-{1}-{2}", "{0}.{1}.{2}", "({0}){1}-{2} ",
    "{0} {1} {2} ext 12", "{0}-{1}-{2} x204", "+1{0}{1}{2}", "tel: {0}-{1}-{2}", "{0}/{1}-{2} (call first)",
)  # fmt: skip
"""Ways in which people type a phone number: area code, exchange, number."""


def seed_people(data: Dataset, customers: int, locations: int, now: int) -> None:
    """Fills customers, locations and both contact tables.

    Every customer has a location; the locations left over go round as second ones. About 1 in 60 customers is merged
    (one chain of three at least, from 7 customers on), 1 in 80 deactivated; 1 in 7 second locations is merged into its
    customer's first. Sets `data.homes`: (customer id, location id) pairs in creation order.
    """
    start = now - 1100 * DAY
    rows = []
    for number in range(customers):
        created = data.dice.instant(start + (now - 330 * DAY - start) * number // max(1, customers), now - 325 * DAY)
        rows.append(customer_fields(data, number, created, data.dice.instant(created, now - 2 * DAY)))
    _merge_some(rows, data, customers)
    data.tables["customers"].load([person_record(fields) for fields in rows])

    places, homes = [], []
    for number in range(max(customers, locations)):
        owner = rows[number % customers]
        moment = max(owner["@created"], owner["@modified"] - 30 * DAY)
        places.append(location_fields(data, number, owner, moment, extra=number >= customers))
        homes.append((owner["id"], places[-1]["id"]))
    for number in range(customers, len(places), 7):
        places[number].update(active=False, mergedToId=places[number % customers]["id"])
    data.tables["locations"].load([person_record(fields) for fields in places])
    data.homes = homes

    contacts, copies = [], []
    for number, owner in enumerate(rows):
        mine = contact_set(data, number, owner)
        contacts += [contact_record(data, fields, owner["id"]) for fields in mine]
        for fields in mine:
            if number % 4 or fields["type"] == "Email":  # a location often lacks the number that only the customer has
                copies.append(contact_record(data, {**fields, "id": data.next_id()}, places[number]["id"]))
    for number in range(customers, len(places)):
        for fields in contact_set(data, number, rows[number % customers]):
            copies.append(contact_record(data, fields, places[number]["id"]))
    _share_some_ids(contacts)
    data.tables["customers/contacts"].load(contacts)
    data.tables["locations/contacts"].load(copies)


def customer_fields(data: Dataset, number: int, created: int, modified: int) -> dict[str, Any]:
    """A customer; keys that start with @ are for the seeding only."""
    dice = data.dice
    commercial = number % 10 == 7
    first, last = dice.pick(FIRST_NAMES), dice.pick(LAST_NAMES)
    name = dice.pick(COMPANIES) if commercial else f"{last}, {first}" if number % 9 == 4 else f"{first} {last}"
    return {
        "id": data.next_id(), "active": number % 80 != 41, "name": name,
        "type": "Commercial" if commercial else "Residential",
        "address": address(data, number), "customFields": [] if number % 2 else None,
        "balance": msgspec.Raw(b"%d.%02d00000000" % (dice.below(900), dice.below(100))) if number % 6 == 0 else ZERO,
        "taxExempt": commercial and number % 3 == 0, "tagTypeIds": [], "doNotMail": number % 23 == 3,
        "doNotService": number % 97 == 11, "nationalAccount": False, "createdById": 5501, "mergedToId": None,
        "paymentTermId": None, "creditLimit": None, "creditLimitBalance": None,
        "externalData": None if number % 3 else [],
        "@created": created, "@modified": modified, "@first": first, "@last": last,
    }  # fmt: skip


def location_fields(data: Dataset, number: int, owner: dict[str, Any], moment: int, *, extra: bool) -> dict[str, Any]:
    """A service address of this customer; an extra one lies elsewhere than where the bill goes."""
    where = owner["address"] if not extra and number % 5 else address(data, number + 7)
    return {
        "id": data.next_id(), "customerId": owner["id"], "active": True, "name": owner["name"], "address": where,
        "customFields": None if number % 3 == 0 else [], "createdById": 5501, "mergedToId": None, "zoneId": None,
        "taxZoneId": None, "taxExempt": False, "tagTypeIds": [], "externalData": None,
        "@created": moment, "@modified": data.dice.instant(moment, owner["@modified"] + DAY),
    }  # fmt: skip


def address(data: Dataset, number: int) -> dict[str, Any]:
    """A postal address; 1 in 37 lacks street and zip (switch `absent_address_parts`)."""
    dice = data.dice
    city, state, zip_code = dice.pick(CITIES)
    blank = "" if data.switches.absent_address_parts == "empty" else None
    lost = number % 37 == 19
    return {
        "street": blank if lost else f"{100 + dice.below(9800)} {dice.pick(STREETS)}",
        "unit": f"#{1 + dice.below(40)}" if number % 7 == 0 else None, "city": city, "state": state,
        "zip": blank if lost else zip_code, "country": "USA",
        "latitude": round(32 + dice.fraction(), 6) if number % 3 else None,
        "longitude": round(-117 + dice.fraction(), 6) if number % 3 else None,
    }  # fmt: skip


def contact_set(data: Dataset, number: int, owner: dict[str, Any]) -> list[dict[str, Any]]:
    """The contacts of one customer, in no particular order of worth."""
    kinds = data.dice.weighted(REACHABLE_BY) if number > 7 else REACHABLE_BY[number][0]
    return [contact_fields(data, number + turn, kind, owner) for turn, kind in enumerate(kinds)]


def contact_fields(data: Dataset, number: int, kind: str, owner: dict[str, Any]) -> dict[str, Any]:
    """One way to reach somebody, as typed. 1 in 9 has the year-1 createdOn (contract, section 2.3)."""
    dice = data.dice
    if kind == "Email":
        value = f"{owner['@first']}.{owner['@last']}{number}@example.com".replace(" ", "").replace("'", "").lower()
        value = value.encode("ascii", "ignore").decode()
        if number % 41 == 17:
            value = f" {value.title()}, billing{number}@example.com"
        elif number % 53 == 21:
            value = "none"
    else:
        digits = dice.phone_digits()
        value = dice.pick(TYPED).format(digits[:3], digits[3:6], digits[6:])
        if number % 67 == 23:
            value = f"{digits[3:6]}-{digits[6:]}"  # no area code
    return {
        "id": data.next_id(), "type": kind, "value": value,
        "memo": "front office fax" if kind == "Fax" else owner["@first"] if number % 3 == 0 else None,
        "@stop": kind != "Email" and number % 13 == 6, "@created": 0 if number % 9 == 2 else owner["@created"],
        "@modified": dice.instant(owner["@created"], owner["@modified"] + 1),
    }  # fmt: skip


def contact_record(data: Dataset, fields: dict[str, Any], parent: int) -> Record:
    """A contact row, keyed (contact id, parent id)."""
    row = contact_row(data.switches.email_phone_settings, fields)
    return Record((fields["id"], parent), encode_row(row), modified=fields["@modified"], created=fields["@created"])


def contact_row(email_phone_settings: str, fields: dict[str, Any]) -> dict[str, Any]:
    """A contact as `.../{id}/contacts` answers it; `email_phone_settings` is the switch of that name."""
    row = {key: fields[key] for key in ("id", "type", "value", "memo")}
    if fields["type"] != "Email":
        row["phoneSettings"] = {"phoneNumber": fields["value"].strip(), "doNotText": fields["@stop"]}
    elif email_phone_settings != "missing":
        empty = {"phoneNumber": "", "doNotText": False}
        row["phoneSettings"] = None if email_phone_settings == "null" else empty
    row["modifiedOn"] = write_instant(fields["@modified"])
    row["createdOn"] = write_instant(fields["@created"])
    row["preferences"] = None if fields["id"] % 2 else {
        "jobRemindersEnabled": True, "marketingUpdatesEnabled": fields["id"] % 5 != 0,
        "invoiceStatementNotification": True,
    }  # fmt: skip
    return row


def person_record(fields: dict[str, Any]) -> Record:
    """A customer or location row from its fields."""
    row = {key: value for key, value in fields.items() if key[0] != "@"}
    row["createdOn"] = write_instant(fields["@created"])
    row["modifiedOn"] = write_instant(fields["@modified"])
    return Record(
        row["id"], encode_row(row), modified=fields["@modified"], created=fields["@created"], active=row["active"]
    )


def _merge_some(rows: list[dict[str, Any]], data: Dataset, customers: int) -> None:
    for number in range(4, customers - 2, 60):
        rows[number].update(active=False, mergedToId=rows[number + 1]["id"])
        if number % 180 == 4 and number + 3 < customers:  # a chain: the survivor was merged in its turn
            rows[number + 1].update(active=False, mergedToId=rows[number + 2]["id"])


def _share_some_ids(contacts: list[Record]) -> None:
    """Gives 1 in 50 contacts the id of the one before, under another customer: ids are not unique alone."""
    for number in range(25, len(contacts), 50):
        before, record = contacts[number - 1], contacts[number]
        if before.key[1] != record.key[1]:
            fields = record.fields()
            fields["id"] = before.id
            record.key, record.body = (before.id, record.key[1]), encode_row(fields)
