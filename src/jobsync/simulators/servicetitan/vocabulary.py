"""Invented names, streets and words that the dataset is made of. Numbers are 555-01xx, mail goes to example.com."""

from __future__ import annotations

FIRST_NAMES = (
    "Maria", "James", "Aisha", "Daniel", "Chloe", "Miguel", "Grace", "Owen", "Priya", "Lucas", "Hannah", "Andre",
    "Sofia",
    "Noah", "Mei", "Samuel", "Elena", "Victor", "Ruth", "Omar", "Julia", "Peter", "Nadia", "Frank", "Zoë", "José",
    "Ingrid",
    "Tomás", "Björn", "Leilani", "Darnell", "Fatima", "Gus", "Harriet", "Ivan", "Keisha",
)  # fmt: skip
LAST_NAMES = (
    "Lopez", "Whitfield", "Okafor", "Brandt", "Nguyen", "Castillo", "O'Neill", "Harper", "Patel", "Moreau", "Lindqvist",
    "Banks", "Romano", "Kowalski", "Chen", "Abbott", "Vasquez", "Hale", "Goldberg", "Haddad", "Marsh", "Schäfer",
    "Petrov",
    "Quinn", "van der Berg", "Muñoz", "Sørensen", "McAllister", "Kahale", "Dupree", "Yilmaz", "Rossi",
)  # fmt: skip
COMPANIES = (
    "Harbor View Apartments LLC", "Cedar & Pine Dental", "Mesa Grande HOA", "Blue Door Bakery",
    "Northside Storage, Inc.",
    "Palm Court Motel", "St. Brendan's School", "Willow Creek Property Management", "Joe's \"Famous\" Tacos",
    "Sunrise Senior Living",
)  # fmt: skip
STREETS = (
    "Juniper Ave", "Harbor Blvd", "W Maple St", "Old Mill Rd", "Camino del Sol", "Ocean View Dr", "Birch Ln", "5th St",
    "Sunset Ter", "Quarry Rd", "N Magnolia Way", "Cactus Wren Ct", "Pier 7", "Summit Pl",
)  # fmt: skip
CITIES = (
    ("San Diego", "CA", "92101"), ("Escondido", "CA", "92025"), ("Chula Vista", "CA", "91910"), ("Oceanside", "CA",
    "92054"),
    ("Phoenix", "AZ", "85004"), ("Tempe", "AZ", "85281"), ("Portland", "OR", "97205"), ("Henderson", "NV", "89002"),
    ("Boise", "ID", "83702"), ("La Mesa", "CA", "91941-2210"),
)  # fmt: skip
AREA_CODES = (
    619, 858, 760, 602, 480, 503, 702, 208, 213, 310, 323, 415, 408, 510, 530, 559, 562, 626, 650, 661, 707, 714,
    805, 818,
    831, 909, 916, 925, 949, 951, 520, 623, 928, 541, 971, 725, 775, 206, 253, 360, 425, 509, 303, 719, 720, 970,
    385, 435,
    801, 505, 575, 210, 214, 254, 281, 325, 361, 409, 432, 469, 512, 682, 713, 737, 806, 817, 830, 832, 903, 915,
    936, 940,
    956, 972, 979, 312, 331, 618, 630, 708,
)  # fmt: skip
UNITS: tuple[tuple[int, str, float], ...] = (
    (1314, "Sales & Service", 0.40),
    (54670601, "Install", 0.15),
    (4622, "Pool Service", 0.15),
    (26143, "Plumbing", 0.20),
    (1308, "Install - Additional", 0.05),
    (4623, "Pool - Commercial", 0.05),
)
"""Business units (id, name, share of jobs): four that everybody routes, and two that nobody mapped."""
JOB_TYPES = (
    ("AC Repair", "Normal"), ("Furnace Tune-Up", "Low"), ("Water Heater Install", "High"), ("Drain Cleaning", "Normal"),
    ("Pool Equipment Check", "Normal"), ("Leak Detection", "Urgent"), ("Estimate - HVAC Replacement", "Normal"),
    ("Recall", "High"), ("Repipe", "High"), ("Thermostat <Smart> Setup", "Low"),
)  # fmt: skip
CAMPAIGNS = ("Google Ads", "Referral", "Yard Sign", "Direct Mail - Spring", "Website", "Old Radio Spot")
TAGS = ("VIP", "Member", "Warranty", "Do Not Reschedule", "Financing", "Callback")
TECHNICIANS = (
    "Rosa Delgado",
    "Will Tran",
    "Curtis Boyd",
    "Amara Nwosu",
    "Pete Lindgren",
    "Dana Fox",
    "Sol Reyes",
    "Kit Ames",
)
SUMMARIES = (
    "<p>AC not cooling, house at 84&deg;F. Customer&#39;s <b>side gate</b> is locked.</p>",
    "<div>Water heater leaking &amp; rusted<br/>Replace with 50&nbsp;gal</div>",
    "Pool pump loud, &lt;2 years old",
    "<p>Call 30 min ahead</p><p>Dog in yard &mdash; friendly</p>",
    "No heat upstairs. Filter changed in October.",
    "<ul><li>Kitchen drain slow</li><li>Hall bath drain slow</li></ul>",
    "<p>2nd opinion on compressor; quoted $4,800 by others</p>",
    "Warranty call: condensate line again\r\nsee last invoice",
    '<p>Estimate for repipe</p><img src="x" onerror="alert(1)">',
    "<p>Señora habla español, prefiere la mañana ☀️</p>",
)
ESTIMATE_NAMES = ("Good", "Better", "Best", "Repair only", "System replacement", "Repipe - PEX")
CANCEL_REASONS = ((71, "Customer canceled"), (72, "Weather"), (73, "Duplicate job"), (74, "No show"))
HOLD_REASONS = ((81, "Waiting on parts"), (82, "Waiting on approval"))
