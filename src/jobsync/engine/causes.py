"""The words of `why`: for each reason that a job may stand with, the cause in one sentence and what to do about it.

`{unit}`, `{job}` and `{customer}` are filled in by the caller. Reasons are written by the SQL of planning and delivering
and by the API's sender; tests/engine/test_causes.py holds that each of them has its words here.
"""

from __future__ import annotations

Words = tuple[str, str]

CAUSES: dict[str, Words] = {
    "unmapped": ("its business unit has no route", "jobsync units set {unit} --webhook URL"),
    "on_sales_card": (
        "it goes on with the card of the job whose sold estimate it was made from",
        "jobsync units set {unit} --card own gives later jobs cards of their own",
    ),
    "unit_off": ("its business unit is switched off", "jobsync units set {unit} --webhook URL"),
    "before_start": ("it was created before JobSync began to deliver", "jobsync arm --since DATE sends older jobs too"),
    "backfilled": (
        "a backfill brought it, and what a backfill brings is never sent by itself",
        "jobsync backfill --since DATE --deliver, or: jobsync replay {job} --force --yes",
    ),
    "imported": (
        "it was imported, and imported jobs are never sent by themselves",
        "jobsync replay {job} --force --yes",
    ),
    "failed_outside": (
        "the old flow had marked it as failed before this database was adopted",
        "once JobSync delivers its unit: jobsync replay {job} --yes",
    ),
    "by_hand": ("somebody marked it as skipped", "jobsync replay {job} --force --yes"),
    "card_unknown": (
        "it changed; the old flow delivered it, and which card in GoHighLevel is its own is not known",
        "PATCH /db/jobs/{job}/ghl-sync with its opportunityId, or: jobsync replay {job} --force --yes makes a new card",
    ),
    "deleted_in_ghl": (
        "its card was deleted in GoHighLevel, and nobody makes it again by itself",
        "jobsync replay {job} --force --yes makes a new one",
    ),
    "no_contact": (
        "its customer and location have neither phone nor e-mail",
        "add one in ServiceTitan; it goes out by itself",
    ),
    "shared_contact": (
        "the contact with its phone or e-mail is another customer's, and a person has to decide",
        "jobsync customers review, then: jobsync customers decide {customer} share (or skip)",
    ),
    "no_pipeline": (
        "its unit's route names no pipeline that GoHighLevel has",
        "jobsync units set {unit} --pipeline NAME",
    ),
    "test_only": (
        "GoHighLevel took it for a test sample: the workflow's trigger is not saved or not published",
        "publish the workflow, then: jobsync replay {job}",
    ),
    "rejected": ("the hook refused it", "see the answer above, then: jobsync replay {job}"),
    "attempts_used_up": ("every attempt failed", "mend the hook, then: jobsync replay {job}"),
    "worker_died": ("the worker died five times while sending it", "jobsync replay {job}"),
    "retrying": ("the last attempt failed; it is tried again by itself", "mend the hook, or wait"),
    "destination_unsent": ("the hook cannot be reached; it is tried again by itself", "check the hook's URL"),
    "destination_gone": (
        "the hook does not exist any more",
        "paste the new URL: jobsync units set {unit} --webhook URL",
    ),
    "destination_unauthorized": (
        "the hook refuses access",
        "paste the new URL: jobsync units set {unit} --webhook URL",
    ),
    "destination_rate_limited": ("the hook asked to slow down; it is tried again by itself", "wait"),
    "settling": (
        "an earlier try may have made its card although no answer came; GoHighLevel is asked again before anything is created",
        "wait; it goes on by itself within minutes",
    ),
    "stopped": ("sending was stopped while it was under way; nothing was lost", "jobsync resume, or: jobsync arm"),
    "contact": ("its customer changed in ServiceTitan; the contact is told once", "wait"),
    "update": ("it changed since it was delivered; the update waits", "wait"),
    "replay": ("a replay was asked for and waits", "wait"),
}
API_CAUSES: dict[str, Words] = {
    "rejected": (
        "GoHighLevel refuses this job as it stands",
        "see the answer above, mend what it names, then: jobsync replay {job}",
    ),
    "attempts_used_up": (
        "every attempt failed",
        "look whether GoHighLevel works for this location (jobsync doctor), then: jobsync replay {job}",
    ),
    "retrying": (
        "GoHighLevel did not answer properly; it is tried again by itself",
        "wait, or look at the answers above",
    ),
    "destination_unsent": (
        "GoHighLevel cannot be reached or is not connected; it is tried again by itself",
        "jobsync doctor says which",
    ),
    "destination_gone": (
        "GoHighLevel has no such route: another address or version is asked than the one JobSync knows",
        "check GHL_API_URL, then: jobsync resume",
    ),
    "destination_unauthorized": (
        "GoHighLevel refuses the token, or the token lacks a right or is another location's",
        "check GHL_API_KEY, its scopes and GHL_LOCATION_ID, then: jobsync resume",
    ),
    "destination_rate_limited": (
        "GoHighLevel asked to slow down, or the day's quota is used up; it is tried again by itself",
        "wait; a fifth of the day's quota is kept for people",
    ),
}
"""What reads otherwise where the job goes by API and not to a hook."""

UNFOUND: dict[str, Words] = {
    "missing": (
        "GoHighLevel accepted it, and nothing of it is there: the workflow may be a draft, or its action fails",
        "publish the workflow, then: jobsync replay {job} --force --yes",
    ),
    "unmarked": (
        "GoHighLevel made a card that does not carry the job's id, so nothing can be proven",
        "let the workflow write the custom field st_job_id",
    ),
    "unknown": ("GoHighLevel accepted it, and could not be asked yet whether it is there", "jobsync verify"),
}

FLAGS: dict[str, Words] = {
    "doubled": (
        "GoHighLevel has it, with two cards that carry its id",
        "delete the newer card in GoHighLevel",
    ),
    "unmarked": (
        "GoHighLevel has it, without the job's id: the location has no custom field st_job_id",
        "add the opportunity field st_job_id in GoHighLevel, then: jobsync replay {job} --force --yes",
    ),
    "field_dropped": (
        "GoHighLevel has it, and did not keep every field it was told",
        "look at the custom fields of the card; jobsync replay {job} --force --yes tells it again",
    ),
    "no_note": (
        "GoHighLevel has it; the note with the summary could not be written",
        "jobsync replay {job} --force --yes tries it again",
    ),
}
"""Facts of a delivered job that a person should know, the gravest first."""
