-- question: What is this event?
-- group: findings and events
-- technique: T1078.004 Valid Accounts: Cloud Accounts
-- means: The event with this uid (CloudTrail's eventID; for a finding its id, a colon and the
--   time of the update), with all columns of the view.
-- limits: The whole OCSF row is in the table of its class.
-- takes: uid, text, required
SELECT *
FROM events
WHERE uid = :uid
